// The replay: which game is open, beside which other one, at which turn, and what of it is shown.

import { byId, el, fill } from "./dom.js";
import { unpack } from "./data.js";
import { frameAt, framed } from "./frames.js";
import { address, called } from "./list.js";
import { Player } from "./player.js";
import { label } from "./text.js";

const SWITCHES = { roles: "r", thoughts: "t", prompts: "p" };

export class Viewer {
  constructor(games, list, changed) {
    this.games = games;
    this.list = list;
    this.changed = changed;
    this.show = { roles: false, thoughts: false, prompts: false };
    this.entry = null;
    this.players = [];
    for (const name of Object.keys(SWITCHES)) byId(`show-${name}`).addEventListener("click", () => this.toggle(name));
    byId("step-back").addEventListener("click", () => this.step(-1));
    byId("step-on").addEventListener("click", () => this.step(1));
    byId("turn-slider").addEventListener("input", (event) => this.players[0]?.go(Number(event.target.value)));
    byId("game-before").addEventListener("click", () => this.neighbour(-1));
    byId("game-after").addEventListener("click", () => this.neighbour(1));
    byId("compare").addEventListener("click", () => this.compare());
  }

  /** The game that an address names: an index, or an id or its beginning. */
  find(name) {
    return this.games.find((game) => !game.guest && game.index !== null && String(game.index) === name) ?? this.games.find((game) => game.id === name) ?? this.games.find((game) => name.length >= 6 && game.id.startsWith(name)) ?? null;
  }

  parent(entry) {
    return entry.parent ? (this.games.find((game) => game.id === entry.parent) ?? null) : null;
  }

  /** Shows what an address asks for; the turn wanted may be missing. */
  async open({ game, turn, beside, show }) {
    if (show !== undefined) for (const [name, key] of Object.entries(SWITCHES)) this.show[name] = show.includes(key);
    const entry = this.find(game);
    const other = beside === undefined ? null : beside === "parent" && entry ? this.parent(entry) : this.find(beside);
    const same = entry !== null && this.entry === entry && this.other === other && this.players.length > 0;
    if (same) {
      this.players[0].at = turn === undefined ? this.players[0].at : frameAt(this.players[0].game, turn);
      this.redraw();
      return;
    }
    [this.entry, this.other, this.players] = [entry, other, []];
    const wanted = [entry, other].filter(Boolean);
    const scripts = await Promise.all(wanted.map((one) => unpack(`game-${one.id}`)));
    if (this.entry !== entry) return; // another one was opened meanwhile
    this.head(game);
    if (entry === null || scripts[0] === null) {
      fill(byId("replay"), absent(entry, game));
      byId("stepper").hidden = true;
      return;
    }
    const part = entry.parent && other && other.id === entry.parent ? entry.forkTurn : null;
    wanted.forEach((one, place) => {
      if (scripts[place]) this.players.push(new Player(one, framed(scripts[place]), this.show, part, (player) => this.moved(player)));
    });
    if (this.players.length > 1) {
      this.players[0].titled(`Game ${called(entry)}`);
      this.players[1].titled(part === null ? `Game ${called(other)}` : `Its parent, game ${called(other)}`);
    }
    const box = byId("replay");
    box.classList.toggle("two", this.players.length > 1);
    fill(box, this.players.map((player) => player.node));
    byId("stepper").hidden = false;
    this.players[0].at = turn === undefined ? 0 : frameAt(this.players[0].game, turn);
    this.redraw();
  }

  head(asked) {
    const entry = this.entry;
    fill(byId("game-title"), entry ? `Game ${called(entry)}` : `Game ${asked}`);
    const facts = entry ? [
      entry.status === "finished" ? (entry.winner === null ? "nobody won" : el("span", {}, "won by ", label(entry.winner))) : entry.status,
      `${entry.turns} turns`,
      entry.seconds ? `${Math.round(entry.seconds * 10) / 10} s` : null,
      entry.invalid ? `${entry.invalid} illegal ${entry.invalid === 1 ? "reply" : "replies"}` : null,
      entry.attempt > 1 ? `attempt ${entry.attempt}` : null,
      el("code", {}, entry.id),
    ].filter(Boolean) : [];
    fill(byId("game-facts"), facts.flatMap((fact, i) => [i ? " · " : null, fact]));
    const parent = entry && this.parent(entry);
    byId("compare").hidden = !entry?.parent;
    byId("compare").disabled = !parent?.where;
    byId("compare").title = parent ? "C: side by side with the game it was forked from" : "The game it was forked from is in another run that is not at hand";
    byId("compare").setAttribute("aria-pressed", String(Boolean(this.other)));
  }

  redraw() {
    for (const name of Object.keys(SWITCHES)) byId(`show-${name}`).setAttribute("aria-pressed", String(this.show[name]));
    for (const player of this.players) player.redraw();
    if (this.players.length) this.synchronise(this.players[0]);
  }

  moved(player) {
    this.synchronise(player);
    this.changed(this.address());
  }

  synchronise(player) {
    const slider = byId("turn-slider");
    const first = this.players[0];
    for (const other of this.players) if (other !== player) other.follow(player.turn);
    slider.max = String(first.game.frames.length - 1);
    slider.value = String(first.at);
    const frame = first.game.frames[first.at];
    const spoken = frame.turn === null ? "the end" : `turn ${frame.turn}`;
    slider.setAttribute("aria-valuetext", spoken);
    byId("turn-label").textContent = frame.turn === null ? "end" : `turn ${frame.turn} of ${this.entry.turns}`;
  }

  /** Where this view is, as the address says it. */
  address() {
    const show = Object.entries(SWITCHES).map(([name, key]) => (this.show[name] ? key : "")).join("");
    return { game: String(this.entry.guest ? this.entry.id : (this.entry.index ?? this.entry.id)), turn: String(this.players[0]?.turn ?? 0), with: this.other ? (this.other.id === this.entry.parent ? "parent" : String(this.other.index ?? this.other.id)) : "", show };
  }

  toggle(name) {
    this.show[name] = !this.show[name];
    this.redraw();
    this.changed(this.address());
  }

  step(by) {
    const [first] = this.players;
    first?.go(first.at + by);
  }

  phase(by) {
    this.players[0]?.phase(by);
  }

  edge(last) {
    this.players[0]?.go(last ? Infinity : 0);
  }

  /** Opens the game before or after this one in the list as it is filtered. */
  neighbour(by) {
    const passing = this.list.passing;
    const here = passing.indexOf(this.entry);
    const next = here < 0 ? passing[0] : passing[here + by];
    if (next) location.href = address(next);
  }

  compare() {
    if (!this.entry || !this.parent(this.entry)?.where) return;
    const to = { ...this.address(), with: this.other ? "" : "parent" };
    this.changed(to, true);
  }
}

function absent(entry, asked) {
  if (entry === null) return el("p", { class: "note" }, "There is no game ", label(asked), " in this report.");
  if (entry.where && entry.where !== "here") return el("p", { class: "note" }, "This game is on another page: ", el("a", { href: address(entry) }, entry.where), ". It lies beside this file, in case you got only the file.");
  return el("p", { class: "note" }, "This file has no room for every game, and this one was left out. ", el("code", {}, "python -m runner.report RUN_DIR"), " writes pages with all of them.");
}
