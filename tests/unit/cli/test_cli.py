"""The command line: every shipped config composes, and every mistake is answered in one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from runner.__main__ import conf_dir, config_of
from runner.cli import Words, checked, help_text
from runner.cluster import Node, hypothetical_nodes, place, refuse_impossible
from runner.config import (
    AutoEngine,
    CacheAwareScheduler,
    ClusterConfig,
    ConcurScheduler,
    EndpointEngine,
    LeastRunningScheduler,
    LlamaCppEngine,
    RoundRobinScheduler,
    RunConfig,
    SGLangEngine,
    SimulatedEngine,
    SlotScheduler,
    ThunderAgentScheduler,
    load,
    plain,
)
from runner.control.__main__ import main as control
from runner.errors import UsageError
from runner.record import Recorder, manifest, storage_at
from runner.record.sample import episode, seat
from runner.run.found import look
from runner.run.plan import Plan, make_plan

CONF = conf_dir()
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
FILES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
GIVEN = {
    ("games", "custom"): ["games.name=duel", "games.path=m:C"],
    ("model", "custom"): ["model.name=m", "model.path=p"],
}


def composed(*overrides: str) -> RunConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return config_of(compose("config", list(overrides)))


@pytest.mark.parametrize(("group", "name"), FILES)
def test_every_shipped_config_composes_and_is_checked(group: str, name: str) -> None:
    game = [] if group == "games" else ["games=werewolf"]
    config = composed(*game, f"{group}={name}", *GIVEN.get((group, name), []))
    assert isinstance(config, RunConfig)


@pytest.mark.parametrize(
    "game", [name for group, name in FILES if group == "games" and name != "custom"]
)
def test_every_shipped_game_can_be_planned(game: str) -> None:
    plan = make_plan(composed(f"games={game}", "seats.default=random", "embedder=hashing", "n=3"))
    assert [spec.seed for spec in plan.specs] == [0, 1, 2]
    assert len({spec.id for spec in plan.specs}) == 3


@pytest.mark.parametrize(
    ("file", "knobs"),
    [
        ("engine/auto", AutoEngine()),
        ("engine/llamacpp", LlamaCppEngine()),
        ("engine/endpoint", EndpointEngine()),
        ("engine/simulated", SimulatedEngine()),
        ("scheduler/slots", SlotScheduler()),
        ("scheduler/round_robin", RoundRobinScheduler()),
        ("scheduler/least_running", LeastRunningScheduler()),
        ("scheduler/cache_aware", CacheAwareScheduler()),
        ("scheduler/concur", ConcurScheduler()),
        ("scheduler/thunderagent", ThunderAgentScheduler()),
        ("cluster/auto", ClusterConfig()),
    ],
)
def test_files_repeat_the_defaults_of_the_code(file: str, knobs: Any) -> None:
    """The files list every knob so that it can be overridden; the values have one home."""
    written: Any = OmegaConf.to_container(OmegaConf.load(CONF / f"{file}.yaml"))
    expected = plain(knobs)
    if "port_range" in expected:
        expected["port_range"] = list(expected["port_range"])
    assert written == expected


def test_the_top_file_repeats_the_defaults_of_the_code() -> None:
    config = composed("games=werewolf")
    default = RunConfig(games=config.games, model=config.model)
    assert config == default


def test_a_longer_run_begins_with_the_shorter_one_and_content_names_episodes() -> None:
    def ids(*overrides: str) -> list[str]:
        config = composed("games=kuhn_poker", "seats.default=random", *overrides)
        return [spec.id for spec in make_plan(config).specs]

    assert ids("n=5") == ids("n=9")[:5]
    assert ids("n=4", "seed=1") == ids("n=5")[1:]
    assert not set(ids("n=5")) & set(ids("n=5", "games.rules.hands=2"))
    assert len(set(ids("n=6", "repeats=3"))) == 6
    assert ids("n=5") == ids("n=5", "cluster.workers=2", "calls.tries=9")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n": 0}, "n: Input should be greater than or equal to 1, got 0"),
        ({"modle": {}}, "Unknown key 'modle'. Did you mean 'model'?"),
        ({"limits": {"turnz": 1}}, "Unknown key 'limits.turnz'. Did you mean 'turns'?"),
        ({"model": {"path": "x"}}, "model.name: Field required"),
        (
            {"engine": {"name": "simulated", "speed": 0}},
            "engine.speed: Input should be greater than 0, got 0.",
        ),
        ({"scheduler": {"name": "ledger", "slots": 0}}, "scheduler.slots: Input should be"),
        (
            {"models": {"b": {"path": "b", "engine": {"name": "simulated", "speed": 0}}}},
            "models.b.engine.speed: Input",
        ),
        ({"resume": {"retry": "fail"}}, "retry (resume.retry): Input should be 'none' or 'failed'"),
        ({"layout": "sideways"}, "layout: Input should be 'public_first' or 'dialogue'"),
    ],
)
def test_load_says_what_is_wrong_and_where(change: dict[str, Any], said: str) -> None:
    tree = {"games": {"name": "werewolf"}, "model": {"name": "m", "path": "p"}, **change}
    with pytest.raises(UsageError) as error:
        load(tree)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("+games.rules.roles.wolf=9", "games.rules.roles.wolf: Input should be 'werewolf', "),
        ("+games.rules.names=[Ann,Bob]", "games.rules: 2 names for 7 seats"),
    ],
)
def test_a_mistake_in_the_rules_is_named_by_what_was_typed(rule: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        make_plan(composed("games=werewolf", rule))
    assert str(error.value).startswith(said)


@pytest.mark.parametrize("slots", ["abc", "0", "-1", "1.5"])
def test_slots_that_are_no_number_are_refused_in_plain_words(
    slots: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        control(["out", "slots", "--", slots])
    assert f"'{slots}' is no whole number from 1, nor auto" in capsys.readouterr().err


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runner", *arguments],
        cwd=cwd,
        env={**os.environ, "RAY_ADDRESS": "127.0.0.1:9", **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "Which game?"),
        ("games=werwolf", "There is no game 'werwolf'. Did you mean 'werewolf'?"),
        ("games=werewolf model=smolm2", "There is no model 'smolm2'. Did you mean 'smollm2'?"),
        ("games=werewolf engine=lamacpp", "There is no engine 'lamacpp'. Did you mean 'llamacpp'?"),
        ("gmes=werewolf", "Unknown key 'gmes'. Did you mean 'games'?"),
        ("games=werewolf engine.slts=3 engine=llamacpp", "Did you mean 'slots'?"),
        ("games=werewolf n=0", "n: Input should be greater than or equal to 1, got 0"),
        ("games=werewolf n=many", "n: Input should be a valid integer"),
        ("werewolf", "Did you mean games=werewolf?"),
        ("games=werewolf games.rules.talk_round=2", "Did you mean 'talk_rounds'?"),
        ("games=werewolf games.rules.roles.werewolf=9", "werewol"),
        ("games=werewolf games.rules.names=[Ann,Bob]", "names"),
        ("games=werewolf seats.wolf=random", "Did you mean 'werewolf'?"),
        ("games=werewolf seats.default=gpt", "nobody is called that"),
        ("games=werewolf run_dir=/proc/x", "Cannot write to /proc/x"),
        ("games=werewolf run_dir=/proc/cpuinfo", "Cannot write to /proc/cpuinfo: a file is in its"),
        ("games=werewolf run_dir=/proc/cpuinfo/x", "Cannot write to /proc/cpuinfo/x: a file is"),
        ("games=werewolf model.path=/no/such.gguf", "there is no such file"),
        ("games=werewolf engine=endpoint", "engine=endpoint needs the servers' base URLs"),
        ("games=werewolf engine=llamacpp engine.port_range=[5,2]", "is no range of ports"),
        ("games=custom games.name=x games.path=nomod:X", "No module named 'nomod'. Run it from"),
        ("games=werewolf model=custom model.name=x", "model.path must be given"),
        ("run_dir=/not/here", "/not/here holds no run: it has no run.json"),
        ("fork.run_dir=/not/here", "fork.run_dir=/not/here holds no run: it has no run.json"),
        ("run_dir=/not/here games=werewolf n=0", "n: Input should be"),
        ("games=werewolf,kuhn_poker", "Add -m to run one after the other"),
        ("games=werewolf cluster.address=127.0.0.1:9", "No Ray cluster listens at 127.0.0.1:9"),
    ],
)
def test_a_wrong_command_gets_one_line_and_exit_code_2(
    arguments: str, said: str, tmp_path: Path
) -> None:
    done = run(*arguments.split(), cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("runner: error: ")
    assert not list(tmp_path.glob("outputs/*/*")), "a refused run leaves no directory"


WHOLE = """from runner import Game, Outcome

class Mine(Game):
    def seats(self):
        return ["Ann", "Bob"]

    async def play(self, table):
        return Outcome({})
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            WHOLE.replace("play", "played"),
            "'mine:Mine' lacks play(): define it in the class [%s:3]",
        ),
        (WHOLE.replace("Outcome({})", "Outcome({}"), "SyntaxError: '(' was never closed [%s:8]"),
        (WHOLE + "raise SystemExit(3)", "SystemExit: 3 [%s:9]"),
        (WHOLE + "\nfurther.mine()", "NameError: name 'further' is not defined [%s:10]"),
        (WHOLE + "import nothing_there", "No module named 'nothing_there' [%s:9]"),
        (WHOLE.replace("Bob", "Ann"), "seat names must differ, got ['Ann', 'Ann']"),
        (WHOLE.replace('["Ann", "Bob"]', "{}[1]"), "KeyError: 1 [%s:5]"),
    ],
)
def test_a_mistake_in_a_game_of_ones_own_is_one_line_with_its_place(
    code: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(code)
    done = run("games=custom", "games.name=mine", "games.path=mine:Mine", cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said.replace("%s", str(tmp_path / "mine.py")) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not list(tmp_path.glob("outputs/*/*")), "a refused run leaves no directory"


def test_a_control_that_finds_no_run_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control([str(tmp_path), "status"]) == 2
    assert f"{tmp_path} holds no run: it has no run.json" in capsys.readouterr().err
    (tmp_path / "run.json").touch()
    assert control([str(tmp_path), "status"]) == 2
    assert f"No run plays in {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("games=kuhn_poker,werwolf", "n=0"), ["There is no game 'werwolf'"]),
        (("games=kuhn_poker", "limits.turnz=1,2"), ["Unknown key 'limits.turnz'"]),
        (("games=kuhn_poker", "n=0,-1"), ["n: Input should be", "n: Input should be"]),
    ],
    ids=["no such game", "no such key", "values"],
)
def test_a_sweep_is_refused_as_a_whole_or_run_by_run(
    words: tuple[str, ...], said: list[str], tmp_path: Path
) -> None:
    """As docs/configuration.md says."""
    done = run("-m", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == len(said), done.stderr
    assert all(part in line for part, line in zip(said, lines, strict=True))


def test_a_dry_run_without_gpus_is_told_how_to_plan_for_some() -> None:
    plan = make_plan(composed("games=werewolf", "model=qwen3-8b", "dry_run=true"))
    with pytest.raises(UsageError) as auto:
        plan.settled(0)
    words = ["games=werewolf", "model=qwen3-8b", "engine=sglang", "dry_run=true"]
    wants = make_plan(composed(*words)).settled(0).wants
    with pytest.raises(UsageError, match="no GPUs on 1 node") as asked:
        refuse_impossible(wants, [Node("a", "a", 8, 0, 8, 0)])
    for error in (auto, asked):
        found = re.search(r"dry_run=true cluster\.hypothetical=(\S+) \(docs/", str(error.value))
        assert found is not None
        assert place(wants, hypothetical_nodes(found[1])), "it can be typed as it stands there"


@pytest.mark.parametrize("n", [2, 3])
def test_a_run_is_not_made_shorter_than_what_has_ended(n: int, tmp_path: Path) -> None:
    words = ["games=kuhn_poker", "seats.default=random", "n=40"]
    plan = make_plan(composed(*words))
    recorder = Recorder(tmp_path / "out")
    for spec in plan.specs[:3]:
        recorder.end(episode(spec.id), [seat(spec.id)])
    recorder.close()
    manifest.begin(
        storage_at(tmp_path / "out"),
        n=40,
        seed=0,
        config={"words": words},
        content=plan.identity,
        config_yaml="",
    )
    done = run("run_dir=out", f"n={n}", cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "out holds a run with n=40, of which 3 episodes have ended" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert look(storage_at(tmp_path / "out"), make_plan(composed(*words, "n=4"))).beyond == 0


def test_an_endpoint_that_is_down_is_said_before_ray_starts(tmp_path: Path) -> None:
    urls = "engine.urls=[http://127.0.0.1:9/v1]"
    done = run("games=werewolf", "engine=endpoint", urls, cwd=tmp_path)
    assert done.returncode == 1
    assert "http://127.0.0.1:9/v1 does not answer: Connection refused" in done.stderr
    assert "Ray" not in done.stdout


def test_help_and_version(tmp_path: Path) -> None:
    assert "kaggle_balanced" in run("--help", cwd=tmp_path).stdout
    assert run("--version", cwd=tmp_path).stdout.startswith("runner ")
    assert all(group in help_text(CONF) for group in GROUPS)


def test_a_debug_variable_shows_the_trace(tmp_path: Path) -> None:
    done = run("games=werewolf", "n=0", cwd=tmp_path, RUNNER_DEBUG="1")
    assert done.returncode == 2 and "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("runner: error: n: Input should be")


def test_completion_can_be_installed(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "runner"), "-sc", "install=bash"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "complete" in done.stdout and done.returncode == 0


def test_the_composed_configuration_can_be_printed(tmp_path: Path) -> None:
    done = run("games=werewolf", "n=3", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0 and "talk_rounds: 1" in done.stdout


class TestSeveralModels:
    def plan(self, *overrides: str) -> Plan:
        words = Words.of(["games=werewolf", "engine=simulated", *overrides]).for_hydra(CONF)
        return make_plan(composed(*words))

    def test_seats_roles_and_the_embedder_choose_models(self) -> None:
        plan = self.plan("seats.werewolf=smollm2", "model=custom", "model.name=a", "model.path=a")
        assert plan.models.keys() == {"a", "smollm2"}
        assert plan.specs[0].models == {"a", "smollm2"}
        assert plan.job.seats == {"default": "a", "werewolf": "smollm2"}

    def test_a_model_that_nobody_calls_is_not_served(self) -> None:
        assert self.plan("seats.default=random").models == {}
        assert self.plan("models.b.path=b").models.keys() == {"smollm2"}

    def test_a_model_may_have_an_engine_of_its_own(self) -> None:
        plan = self.plan(
            "seats.seer=api",
            "models.api.path=gpt",
            "models.api.engine.name=endpoint",
            "models.api.engine.urls=[https://api.example.com/v1]",
        )
        assert plan.engines["api"] == EndpointEngine(urls=["https://api.example.com/v1"])
        assert plan.engines["smollm2"] == SimulatedEngine()
        assert plan.settled(0).job.engine == "endpoint+simulated"

    @pytest.mark.parametrize(
        ("words", "sessions"),
        [
            (["layout=public_first"], False),
            (["layout=dialogue"], None),
            (["layout=public_first", "engine.enable_session_radix_cache=true"], True),
        ],
    )
    def test_servers_have_sessions_where_the_layout_gains_by_them(
        self, words: list[str], sessions: bool | None
    ) -> None:
        plan = self.plan("engine=sglang", "engine.runtime_env.pip=[sglang]", *words).settled(8)
        (engine,) = plan.engines.values()
        assert isinstance(engine, SGLangEngine)
        assert engine.enable_session_radix_cache is sessions

    @pytest.mark.parametrize(
        ("override", "said"),
        [
            ("models.b.pth=x", r"Unknown key 'models\.b\.pth'\. Did you mean 'path'"),
            ("models.b.tp=2", r"models\.b\.path: Field required"),
            ("models.random.path=x", "means something else in seats"),
            ("models.b={path:b,engine:{name:sgalng}}", r"models\.b\.engine.*sgalng"),
            ("embedder=b", "embedder=b is not known"),
            ("embedder=smollm2", "embedder=smollm2 is no embedding model"),
        ],
    )
    def test_a_mistake_is_named(self, override: str, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            self.plan(override)

    def test_an_embedding_model_takes_no_seat_but_embeds(self) -> None:
        embedding = ["models.e.path=e", "models.e.embedding=true"]
        with pytest.raises(UsageError, match="e is an embedding model and takes no seat"):
            self.plan(*embedding, "seats.seer=e")
        plan = self.plan(*embedding, "embedder=e")
        assert plan.specs[0].models == {"e", "smollm2"}
        assert plan.job.embedder == "e"


class TestWords:
    def test_options_may_stand_anywhere(self) -> None:
        words = Words.of(["games=g", "-m", "--config-dir", "conf", "n=2", "--json"])
        assert words.options == ["-m", "--config-dir", "conf"]
        assert words.overrides == ["games=g", "n=2", "output.json=true"]
        assert words.for_hydra(CONF)[0] == "-m"

    def test_a_run_goes_on_with_its_words_less_those_given_anew(self) -> None:
        words = Words.of(["run_dir=out", "n=9"]).continued(
            lambda run_dir: ["--config-dir", "/c", "games=g", "n=3"]
        )
        assert words.options == ["--config-dir", "/c"]
        assert words.overrides == ["games=g", "run_dir=out", "n=9"]

    def test_passing_wishes_are_not_recorded(self, tmp_path: Path) -> None:
        words = Words.of(["games=g", "--json", "run_dir=o", "--config-dir", str(tmp_path), "n=1"])
        assert words.to_record() == ["--config-dir", str(tmp_path), "games=g", "n=1"]

    def test_open_mappings_may_be_added_to(self) -> None:
        assert Words.of(["seats.werewolf=random"]).for_hydra(CONF) == ["++seats.werewolf=random"]

    def test_a_seat_may_name_a_model_file(self, tmp_path: Path) -> None:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "x1.5-8b.yaml").touch()
        words = Words.of(
            ["seats.werewolf=x1.5-8b", "models.x1.5-8b.replicas=2", "--config-dir", str(tmp_path)]
        )
        assert words.for_hydra(CONF) == [
            *("--config-dir", str(tmp_path)),
            "+model@models.x1__dot__5-8b=x1.5-8b",
            "++seats.werewolf=x1.5-8b",
            "++models.x1__dot__5-8b.replicas=2",
        ]

    def test_the_runs_own_model_and_players_without_a_file_are_no_further_models(self) -> None:
        words = ["model=smollm2", "seats.werewolf=smollm2", "seats.default=random"]
        assert not [w for w in Words.of(words).for_hydra(CONF) if "@models" in w]

    @pytest.mark.parametrize("word", ["engine.args={a: 1}", "engine.args.a=1", "engine.env.X=1"])
    def test_further_flags_may_be_given_one_by_one_or_as_a_mapping(self, word: str) -> None:
        words = Words.of(["games=werewolf", "engine=sglang", word]).for_hydra(CONF)
        composed(*words)

    def test_words_that_are_no_overrides_are_refused(self) -> None:
        with pytest.raises(UsageError, match="Did you mean games=werewolf"):
            checked(Words.of(["werewolf"]))
