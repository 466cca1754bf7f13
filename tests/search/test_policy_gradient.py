"""The policy gradient: against finite differences, against torch's optimisers, and on a bandit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from spnas_core import Architecture, SearchSpace
from spnas_core.errors import ConfigError
from spnas_search.strategies.learned.controllers import LogLinear, WritingNetwork, draw_each
from spnas_search.strategies.learned.edits import EditGrammar
from spnas_search.strategies.learned.generation import END, Grammar
from spnas_search.strategies.learned.policy_gradient import PolicyGradient, PolicyGradientSettings, clipped
from spnas_search.strategies.mutation import weighted_morphisms

START = Architecture.parse("b@8_11-21-21")
SPACE = SearchSpace(min_blocks=3, max_blocks=9, min_stages=2, max_stages=4)
CODES = ("b@8_11-1", "b@8_12-2-1", "b@8_1-1-1-111111", "b@8_121-21")
ADVANTAGES = torch.tensor([0.7, -0.4, 0.2, 1.1], dtype=torch.float64)


def writer():
    network = WritingNetwork(units=5, seed=1)
    with torch.no_grad():
        for weights in network.parameters():
            weights.mul_(8)  # odds that differ
    return network, [Grammar(START, SPACE).choices(Architecture.parse(code)) for code in CODES]


def editor():
    odds = weighted_morphisms({"swap": 1.0, "expand": 0.4, "add-stage": 0.1, "widen": 0.2}, 2)
    grammar, rng = EditGrammar.of(odds, 4, SPACE), np.random.default_rng(5)
    model = LogLinear(grammar.feature_count)
    with torch.no_grad():
        model.parameters()[0].copy_(torch.from_numpy(rng.normal(size=grammar.feature_count)))
    rewrites = [grammar.draw(START, lambda options: int(rng.integers(len(options))), rng) for _ in range(4)]
    return model, [grammar.replay(START, one.steps) for one in rewrites]


@pytest.mark.parametrize("made", [writer, editor])
@pytest.mark.parametrize("entropy", [0.0, 0.3])
def test_the_gradient_is_that_of_finite_differences(made, entropy):
    controller, episodes = made()

    def objective():
        logs, entropies = controller.judge(episodes)
        return (ADVANTAGES * logs).sum() + entropy * entropies.sum()

    weights = [one.requires_grad_() for one in controller.parameters()]
    gradients = torch.autograd.grad(objective(), weights)
    seen = 0
    with torch.no_grad():
        for one, gradient in zip(weights, gradients, strict=True):
            flat, found = one.view(-1), gradient.reshape(-1)
            for place in range(len(flat)):
                kept, values = flat[place].item(), []
                for step in (1e-5, -1e-5):
                    flat[place] = kept + step
                    values.append(objective().item())
                flat[place] = kept
                assert found[place].item() == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-4)
                seen += abs(found[place].item()) > 1e-3
    assert seen > 20


@pytest.mark.parametrize("made", [writer, editor])
def test_the_gradient_of_ppo_at_ratio_one_is_that_of_reinforce(made):
    controller, episodes = made()
    weights = [one.requires_grad_() for one in controller.parameters()]
    logs, _ = controller.judge(episodes)
    reinforce = torch.autograd.grad((ADVANTAGES * logs).sum(), weights, retain_graph=True)
    proximal = torch.autograd.grad(clipped(logs, logs.detach(), ADVANTAGES, 0.2).sum(), weights)
    for one, other in zip(reinforce, proximal, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_ppo_gains_nothing_by_going_further_than_the_clip():
    earlier = torch.zeros(4, dtype=torch.float64)
    logs = torch.log(torch.tensor([1.5, 0.5, 1.5, 0.5], dtype=torch.float64)).requires_grad_()
    gained = clipped(logs, earlier, torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64), 0.2)
    torch.testing.assert_close(gained, torch.tensor([1.2, 0.5, -1.5, -0.8], dtype=torch.float64))
    (gradient,) = torch.autograd.grad(gained.sum(), logs)
    torch.testing.assert_close(gradient, torch.tensor([0.0, 0.5, -1.5, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("made", [writer, editor])
def test_log_probabilities_are_those_of_what_is_drawn(made):
    """Draws by the controller, against the probabilities that it states of them."""
    controller, episodes = made()
    rng = np.random.default_rng(0)
    if made is writer:
        grammar = Grammar(START, SearchSpace(min_blocks=1, max_blocks=3, min_stages=1, max_stages=2))
        drawn = [str(one) for one in grammar.write(8000, controller.chooser(rng))]
        kinds = sorted(set(drawn))
        logs, _ = controller.judge([grammar.choices(Architecture.parse(kind)) for kind in kinds])
    else:
        options = episodes[0][0].options
        drawn = [controller.choose(options, rng) for _ in range(8000)]
        kinds = list(range(len(options)))
        logs, _ = controller.judge([(replace(episodes[0][0], index=kind),) for kind in kinds])
    odds = logs.exp().detach().numpy()
    assert odds.sum() == pytest.approx(1, abs=1e-9)
    counts = np.array([drawn.count(kind) for kind in kinds])
    common = odds * 8000 >= 5
    observed = [*counts[common], counts[~common].sum()]
    expected = [*odds[common] * 8000, max(odds[~common].sum() * 8000, 1e-9)]
    assert stats.chisquare(observed, np.array(expected) / sum(expected) * 8000).pvalue > 1e-3


def test_masked_tokens_have_no_probability_and_codes_stay_inside():
    network, _ = writer()
    with torch.no_grad():
        network.parameters()[-1].copy_(torch.tensor([0.0, 0.0, 0.0, 30.0]))  # to end at once is all it wants
    grammar = Grammar(START, SPACE)
    drawn = grammar.write(300, network.chooser(np.random.default_rng(0)))
    assert all(code in SPACE for code in drawn)
    for code in drawn:
        assert [choice.legal[END] for choice in grammar.choices(code)].index(True) == len(code.serial_code)
    odds = np.array([[0.0, 0.3, 0.0, 0.7], [0.5, 0.0, 0.0, 0.0]])
    places = np.array([draw_each(odds, np.random.default_rng(seed)) for seed in range(300)])
    assert (set(places[:, 0]), set(places[:, 1])) == ({1, 3}, {0})


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_odds_that_are_no_finite_numbers_are_told_and_not_drawn_by(wrong):
    with pytest.raises(ConfigError, match=r"^the odds of what comes next are no finite numbers: lower strategy\."):
        draw_each(np.array([[0.5, 0.5], [0.1, wrong]]), np.random.default_rng(0))


def test_the_gradient_through_masks_is_finite():
    network, episodes = writer()
    logs, entropies = network.judge(episodes)
    gradients = torch.autograd.grad(logs.sum() + entropies.sum(), network.parameters())
    assert all(torch.isfinite(one).all() for one in gradients)
    assert len(episodes[0]) < len(episodes[2]), "one of them is padded"
    alone, of_alone = network.judge(episodes[:1])
    torch.testing.assert_close((alone[0], of_alone[0]), (logs[0], entropies[0]), rtol=1e-12, atol=1e-12)


def test_the_baseline_is_of_earlier_rewards():
    gradient = PolicyGradient(LogLinear(3), PolicyGradientSettings(baseline_decay=0.95))
    assert gradient.advantages([0.2]) == pytest.approx([0])
    assert gradient.advantages([0.4, 0.8]) == pytest.approx([0.2, 0.59])


@pytest.mark.parametrize("made", [writer, editor])
@pytest.mark.parametrize("algorithm", ["reinforce", "ppo"])
def test_equal_rewards_change_nothing(made, algorithm):
    controller, episodes = made()
    before = [one.clone() for one in controller.parameters()]
    gradient = PolicyGradient(controller, PolicyGradientSettings(algorithm=algorithm, entropy=0))
    for _ in range(3):
        gradient.learn(episodes, [0.6] * 4)
    assert all(torch.equal(one, other) for one, other in zip(before, controller.parameters(), strict=True))
    gradient.learn(episodes, [0.6, 0.7, 0.6, 0.6])
    assert not all(torch.equal(one, other) for one, other in zip(before, controller.parameters(), strict=True))


class Arms:
    """A softmax over three arms; an episode is the arm that was pulled."""

    def __init__(self):
        self.weights = torch.zeros(3, dtype=torch.float64)

    def parameters(self):
        return [self.weights]

    def judge(self, episodes):
        logs = torch.log_softmax(self.weights, 0)
        entropy = -(logs.exp() * logs).sum()
        return logs[list(episodes)], entropy.expand(len(episodes))


def pull(seed, draws=600, **values):
    rng = np.random.default_rng(seed)
    arms = Arms()
    given = {"optimiser": "sgd", "learning_rate": 0.5, "entropy": 1e-5, "baseline_decay": 0.95} | values
    gradient = PolicyGradient(arms, PolicyGradientSettings(**given))
    for _ in range(draws):
        odds = torch.softmax(arms.weights.detach(), 0).numpy()
        arm = int(rng.choice(3, p=odds / odds.sum()))
        gradient.learn([arm], [(0.1, 0.5, 0.9)[arm] + rng.normal(0, 0.05)])
    return torch.softmax(arms.weights.detach(), 0)[2].item()


def test_the_best_arm_of_a_bandit_is_found():
    found = [pull(seed) for seed in range(20)]
    assert min(found) >= 0.98
    assert np.mean(found) == pytest.approx(0.996, abs=0.002)


@pytest.mark.parametrize(
    ("optimiser", "values"),
    [("sgd", {}), ("adam", {}), ("adam", {"beta1": 0.0, "beta2": 0.9, "epsilon": 1e-3})],
)
def test_steps_are_those_of_torch(optimiser, values):
    settings = PolicyGradientSettings(optimiser=optimiser, learning_rate=0.1, entropy=0.01, **values)
    arms, theirs = Arms(), Arms()
    ours = PolicyGradient(arms, settings)
    weights = [theirs.weights.requires_grad_()]
    peer = (
        torch.optim.SGD(weights, 0.1)
        if optimiser == "sgd"
        else torch.optim.Adam(weights, 0.1, (settings.beta1, settings.beta2), settings.epsilon)
    )
    rng = np.random.default_rng(0)
    baseline = None
    for _ in range(30):
        pulled, rewards = rng.integers(3, size=4).tolist(), rng.random(4).tolist()
        advantages = []
        for reward in rewards:
            baseline = reward if baseline is None else baseline
            advantages.append(reward - baseline)
            baseline = 0.95 * baseline + 0.05 * reward
        ours.learn(pulled, rewards)
        peer.zero_grad()
        logs, entropies = theirs.judge(pulled)
        (-(torch.tensor(advantages, dtype=torch.float64) * logs).sum() - 0.01 * entropies.sum()).backward()
        peer.step()
    torch.testing.assert_close(arms.weights, theirs.weights, rtol=1e-12, atol=1e-12)


def test_ppo_takes_so_many_passes_and_stays_near_what_drew():
    moved = []
    for passes in (1, 10):
        arms = Arms()
        settings = PolicyGradientSettings(algorithm="ppo", passes=passes, optimiser="sgd", learning_rate=0.2, entropy=0)
        gradient = PolicyGradient(arms, settings)
        gradient.learn([0, 2], [0.0, 1.0])
        moved.append(torch.softmax(arms.weights.detach(), 0)[2].item() * 3)  # its ratio
    assert 1 < moved[0] < moved[1]
    assert moved[1] < 1.2 * 1.15, "behind the clip at 1.2 there is no gradient"


def test_first_weights_follow_from_the_seed():
    first, again, other = (
        torch.cat([one.flatten() for one in WritingNetwork(20, seed).parameters()]) for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0.09 < first.abs().max() <= 0.1
    assert all(one.dtype == torch.float64 for one in WritingNetwork(4, 0).parameters())
