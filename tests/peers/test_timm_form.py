"""Our feature extractors answer as timm's do."""

import pytest
import timm
import torch

from spnas_core.interchange.timm import TimmFeatures

OURS = {"resnet50": "r_111-2111-211111-211", "resnet18": "b_11-21-21-21"}


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("indices", [(1, 2, 3, 4), (2, 4), (3,)])
def test_resnets_say_the_same_of_their_features(name, indices):
    theirs = timm.create_model(name, features_only=True, pretrained=False, out_indices=indices)
    ours = TimmFeatures(OURS[name], [index - 1 for index in indices])  # timm counts the stem as level 0
    for question in ("channels", "reduction"):
        assert getattr(ours.feature_info, question)() == getattr(theirs.feature_info, question)()
        assert getattr(ours.feature_info, question)([0]) == getattr(theirs.feature_info, question)([1])
        assert getattr(ours.feature_info, question)(2) == getattr(theirs.feature_info, question)(3)
    keys = ["num_chs", "reduction"]
    assert ours.feature_info.get_dicts(keys) == theirs.feature_info.get_dicts(keys)
    assert ours.feature_info.get_dicts(keys, [1]) == theirs.feature_info.get_dicts(keys, [2])
    with torch.no_grad():
        shapes = [feature.shape for feature in ours.eval()(torch.zeros(1, 3, 64, 96))]
        assert shapes == [feature.shape for feature in theirs.eval()(torch.zeros(1, 3, 64, 96))]
