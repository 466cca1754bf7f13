"""The neck as a part of a code, and the morphism that changes it."""

import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import spnas_search
from spnas_core import Architecture
from spnas_core.backbones import read_network
from spnas_core.errors import CodeError, ConfigError, EvaluationError, PluginError
from spnas_core.morphisms import align, identity, morphism, morphisms
from spnas_core.space import SearchSpace
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.necks import draw_cell, format_cell, parse_cell
from spnas_detect.necks.cell_text import completed, drawn_parts
from spnas_detect.necks.nas_fpn import nas_fpn_cell
from spnas_detect.necks.rewiring import PLACES, Rewire, changes
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_search.reports import summary
from spnas_search.strategies.crossover import cross
from spnas_search.strategies.learned.controllers import LogLinear
from spnas_search.strategies.learned.edits import EditGrammar
from spnas_search.strategies.learned.generation import Grammar
from spnas_search.strategies.learned.policy_gradient import PolicyGradient, PolicyGradientSettings

CELL = "m@1=gp(in2,in1);out0@0=in0+m;out1@1=m+out0;out2@2=gp(out1,out0)+in2"
CODE = f"b@8_1-2-2~merge:{CELL}"
SMALL = DetectorSettings(neck_channels=8, head_channels=16)


def detector_of(rewrite, tensors=None, chosen=SMALL):
    generator = torch.Generator().manual_seed(0)
    module, _, receipt = build_detector(rewrite, 2, chosen, tensors or {}, generator=generator)
    return module, receipt


def unordered(cell):
    """A cell without the order of what is added."""
    return tuple((m.name, m.level, m.attends, m.sources if m.attends else frozenset(m.sources), m.added) for m in cell)


cells = st.builds(
    lambda levels, between, seed: draw_cell(levels, np.random.default_rng(seed), between),
    st.integers(2, 5),
    st.integers(0, 3),
    st.integers(0, 10**6),
)


class TestChanges:
    @settings(max_examples=25, deadline=None)
    @given(cells)
    def test_each_is_another_cell_of_the_space_that_reads_back(self, cell):
        found = [change.cell for change in changes(cell)]
        assert len(set(found)) == len(found)
        assert cell not in found
        for child in found:
            assert parse_cell(format_cell(child)) == child
            assert completed(drawn_parts(child)) == child
            read = {name for merge in child for name in (*merge.sources, *merge.added)}
            assert {f"in{level}" for level in range(len(child)) if level < 2} <= read | {"in0", "in1"}

    @settings(max_examples=25, deadline=None)
    @given(cells)
    def test_each_changes_one_merge_or_the_places_of_two(self, cell):
        def known(merges):  # which of two guides follows from their levels
            return {m.name: (m.level, m.attends, frozenset(m.sources), m.operations) for m in drawn_parts(merges)}

        before = known(cell)
        for change in changes(cell):
            after = known(change.cell)
            changed = [name for name, merge in after.items() if merge != before[name]]
            assert after.keys() == before.keys()
            if changed:
                assert len(changed) == 1
                assert [merge.name for merge in change.cell] == [merge.name for merge in cell]
                assert change.detail.startswith(changed[0])
            else:
                moved = sum(old.name != new.name for old, new in zip(cell, change.cell, strict=True))
                assert moved == 2

    def test_they_lead_to_every_cell_that_can_be_drawn(self):
        rng = np.random.default_rng(0)
        drawn = {unordered(draw_cell(2, rng, 1)) for _ in range(15000)}
        start = draw_cell(2, rng, 1)
        known, front = {unordered(start)}, [start]
        while front:
            found = {unordered(one.cell): one.cell for cell in front for one in changes(cell)}
            front = [cell for key, cell in found.items() if key not in known]
            known |= found.keys()
        assert len(drawn) > 100
        assert known == drawn

    def test_operations_on_edges_change_too(self):
        found = [change.detail for change in changes(parse_cell("o0@0=sep3(in0)+skip(in1);o1@1=dil5(o0)+sep5(in1)"))]
        assert "out0 applies dil3 to in0, not sep3" in found
        assert "out1 reads in0, not out0" in found
        assert "out0 applies none to in0, not sep3" in found
        assert "out1 applies sep5 to in0, too" in found
        assert len(found) == len(set(found)) == 4 * 5 + 2 + 5

    def test_the_last_edge_of_a_merge_stays(self):
        found = [change.detail for change in changes(parse_cell("o0@0=none(in0)+skip(in1);o1@1=sep3(in1)"))]
        assert "out0 applies sep3 to in0, not none" in found
        assert not [detail for detail in found if "applies none" in detail or "not in0" in detail]

    def test_they_lead_to_every_set_of_edges(self):
        """One level and a merge between: 5 operations on in0; then 5 or none on in0 and on m, not none on both."""
        known = {parse_cell("m@0=sep3(in0);o0@0=skip(m)")}
        front = known
        while front:
            front = {one.cell for cell in front for one in changes(cell)} - known
            known = known | front

        def edges(merge):
            return frozenset(one for one in zip(merge.sources, merge.operations, strict=True) if one[1] != "none")

        assert len({tuple(map(edges, cell)) for cell in known}) == 5 * (6 * 6 - 1)

    @pytest.mark.parametrize("levels", range(2, 7))
    def test_the_published_cells_are_complete(self, levels):
        cell = nas_fpn_cell(levels)
        assert completed(drawn_parts(cell)) == cell


class TestCodes:
    def test_a_neck_stays_with_its_code(self):
        code = Architecture.parse(CODE)
        assert str(code) == CODE
        assert read_network(CODE) == code
        assert code != Architecture.parse("b@8_1-2-2")
        longer = Architecture.parse(f"b@8_11-21-121~merge:{CELL}")
        for name, one in morphisms().items():
            kept = {rewrite.child.neck == code.neck for rewrite in one.options(longer)}
            assert kept == {name != "rewire"}, name
        assert cross(longer, Architecture.parse("b@8_1-2-2"), np.random.default_rng(0)).neck == code.neck
        assert Grammar(longer, SearchSpace(min_stages=3)).architecture(("1", "2", "2")) == code
        assert align(code, Architecture.parse("b@8_1-2-2")).child.neck == ""

    @pytest.mark.parametrize(
        ("text", "said"), [("b_1-2~", "names no neck"), ("b_1-2~a b", "blanks"), ("cb2(b_1-2~fpn)", "inside of cb2()")]
    )
    def test_what_is_no_neck_is_refused(self, text, said):
        with pytest.raises(CodeError, match=said.replace("(", r"\(").replace(")", r"\)")):
            read_network(text)

    def test_it_takes_the_place_of_the_settings(self):
        named, _ = detector_of(identity(Architecture.parse("b@8_1-2-2~pafpn")))
        said, _ = detector_of(
            identity(Architecture.parse("b@8_1-2-2")), chosen=SMALL.model_copy(update={"neck": "pafpn"})
        )
        plain, _ = detector_of(identity(Architecture.parse("b@8_1-2-2")))
        assert named.state_dict().keys() == said.state_dict().keys() != plain.state_dict().keys()

    def test_a_search_ends_with_a_command_that_a_shell_reads(self, tmp_path):
        odds = {"rewire": 1.0}
        settings = {
            "task": {"name": "null"},
            "start": CODE,
            "strategy": {"name": "serial", "odds": odds, "epochs": 1},
            "space": {"min_blocks": 3, "min_stages": 3, "max_multiply_adds": "none"},
            "executor": {"name": "inline"},
            "final": {"finalists": 0, "seeds": 0},
        }
        with spnas_search.search(**settings, budget=3, out=tmp_path / "run") as run:
            assert run.archive.children == 3
            assert {child.rewrite.steps[0].morphism for child in run.archive.of_kind("child")} == {"rewire"}
            *_, last = summary(run)
            words = last.removeprefix("Next: ").partition("   or ")[0]
            read = subprocess.run(["sh", "-c", f"printf '%s\\n' {words}"], capture_output=True, text=True, check=False)
            assert read.stdout.split() == ["spnas", "show", str(run.archive.winner.architecture)]


class TestRewire:
    def test_it_is_registered_and_applies_to_cells_alone(self):
        assert morphism("rewire") == Rewire()
        assert len(Rewire().options(Architecture.parse(CODE))) == len(changes(parse_cell(CELL)))
        for code in ("b@8_1-2-2", "b@8_1-2-2~fpn", "b@8_1-2-2~merge"):
            assert not Rewire().options(Architecture.parse(code))

    def test_a_child_inherits_everything_and_computes_something_else(self):
        parent, _ = detector_of(identity(Architecture.parse(CODE)))
        images, sizes = torch.rand(1, 3, 64, 64), torch.tensor([[64.0, 64.0]])
        rewrite = next(one for one in Rewire().options(Architecture.parse(CODE)) if "attends" in one.steps[0].detail)
        child, receipt = detector_of(rewrite, parent.state_dict())
        assert receipt.as_dict()["inherited_percent"] == 100.0
        assert rewrite.promise is None
        parent.eval(), child.eval()
        with torch.no_grad():
            before, after = (one.neck(one.backbone(images)) for one in (parent, child))
        assert any(not torch.equal(before[name], after[name]) for name in before)
        child.detect(images, sizes)

    def test_edges_inherit_by_their_place_and_new_ones_start_as_their_kind_does(self):
        code = Architecture.parse("b@8_1-2-2~merge:o0@0=sep3(in0)+sep3(in1);o1@1=sep3(in1);o2@2=sep3(in2)")
        parent, _ = detector_of(identity(code))
        before = parent.state_dict()
        for tensor in before.values():
            if tensor.is_floating_point():
                tensor.normal_()
        place = "neck.stack.0.out0"

        def after(detail):
            rewrite = next(one for one in Rewire().options(code) if one.steps[0].detail == detail)
            child = detector_of(rewrite, before)[0].eval()
            assert len(child.neck(child.backbone(torch.rand(1, 3, 64, 64)))) == 3
            return rewrite.child, child.state_dict()

        dropped, tensors = after("out0 applies none to in0, not sep3")
        assert not [name for name in tensors if name.startswith(f"{place}.0.")]
        assert all(torch.equal(tensor, before[name]) for name, tensor in tensors.items() if name.startswith(place))
        code, before = dropped, tensors
        back, tensors = after("out0 applies sep3 to in0, not none")
        assert str(back) == "b@8_1-2-2~merge:o0@0=sep3(in0)+sep3(in1);o1@1=sep3(in1);o2@2=sep3(in2)"
        assert torch.equal(tensors[f"{place}.1.depthwise.weight"], before[f"{place}.1.depthwise.weight"])
        assert (tensors[f"{place}.0.pointwise.norm.weight"] == 1).all()
        _, tensors = after("out0 applies sep5 to in2, too")
        assert (tensors[f"{place}.2.pointwise.norm.weight"] == 1).all()
        assert torch.equal(tensors[f"{place}.1.depthwise.weight"], before[f"{place}.1.depthwise.weight"])

    def test_features_tell_changes_apart(self):
        rewrites = list(Rewire().options(Architecture.parse(CODE)))
        described = {tuple(Rewire().features(rewrite)) for rewrite in rewrites}
        assert all(len(one) == Rewire().feature_count == 3 * PLACES + 1 for one in described)
        assert len(described) > len(rewrites) // 2

    def test_a_policy_learns_which_changes_pay(self):
        """Rewarded are cells whose first output attends; only features of its own kind can tell."""
        grammar = EditGrammar.of({Rewire(): 1.0}, 1, SearchSpace(min_stages=3))
        code = Architecture.parse(CODE)
        model = LogLinear(grammar.feature_count)
        learner = PolicyGradient(model, PolicyGradientSettings(algorithm="reinforce", learning_rate=0.3))
        rng = np.random.default_rng(0)

        def pays(rewrite):
            cell = parse_cell(rewrite.child.neck.removeprefix("merge:"))
            return float(next(merge.attends for merge in cell if merge.name == "out0"))

        def share():
            drawn = [grammar.draw(code, lambda options: model.choose(options, rng), rng) for _ in range(200)]
            return np.mean([pays(rewrite) for rewrite in drawn])

        before = share()
        for _ in range(40):
            drawn = [grammar.draw(code, lambda options: model.choose(options, rng), rng) for _ in range(16)]
            episodes = [grammar.replay(code, rewrite.steps) for rewrite in drawn]
            learner.learn(episodes, [pays(rewrite) for rewrite in drawn])
        assert before < 0.2
        assert share() > 0.5


class TestTask:
    def task(self):
        return DetectionTask(DetectionSettings.model_validate({"detector": SMALL.model_dump()}))

    @pytest.mark.parametrize(
        ("code", "said"),
        [("b@8_1-2-2-2~merge:o0@0=in0+in1;o1@1=in1+o0", "makes 2 levels"), ("b@8_1-2~merge:o0@9", "does not read")],
    )
    def test_a_start_whose_neck_does_not_fit_is_refused(self, code, said):
        with pytest.raises(ConfigError, match=said):
            self.task().check_start(Architecture.parse(code), None)

    def test_so_is_one_whose_neck_nobody_has(self):
        with pytest.raises(PluginError, match="nosuch"):
            self.task().check_start(Architecture.parse("b@8_1-2~nosuch"), None)

    def test_a_candidate_with_too_many_levels_fails_alone(self, tmp_path):
        task = DetectionTask(
            DetectionSettings.model_validate(
                {
                    "detector": SMALL.model_dump(),
                    "image_size": [64, 64],
                    "data_options": {"image_size": 64, "max_size": 32, "train": 4, "validation": 2, "test": 1},
                }
            )
        )
        task.prepare(tmp_path, lambda *_: None)
        child = identity(Architecture.parse(CODE.replace("1-2-2", "1-2-2-1")))
        with pytest.raises(EvaluationError, match="makes 3 levels"):
            task.evaluate(EvaluationRequest(1, child, None, None, Fidelity(1), 0), lambda _: None)
