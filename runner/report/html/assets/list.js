// The list of games: search, filters, order. Everything that is chosen stands in the address.

import { byId, el, fill } from "./dom.js";
import { label, plain } from "./text.js";

const AT_ONCE = 100;
const NOBODY = "(nobody)";
export const FILTERS = ["q", "winner", "status", "model", "role", "min", "max", "odd", "sort"];

export class GameList {
  constructor(games, changed) {
    this.games = games.filter((game) => !game.guest);
    this.changed = changed;
    this.shown = AT_ONCE;
    this.asked = {};
    for (const game of this.games) game.words = words(game);
    this.options("winner", this.games.map((game) => (game.status === "finished" ? (game.winner ?? NOBODY) : null)));
    this.options("status", this.games.map((game) => game.status));
    this.options("model", this.games.flatMap((game) => game.seats.map((seat) => seat[2])));
    this.options("role", this.games.flatMap((game) => game.seats.map((seat) => seat[1])));
    for (const name of FILTERS) {
      byId(`filter-${name}`)?.addEventListener("input", () => this.read());
    }
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("filter-clear").addEventListener("click", () => this.set({}, true));
    for (const button of document.querySelectorAll("#games thead button")) {
      button.addEventListener("click", () => this.order(button.dataset.sort));
    }
    byId("more-games").addEventListener("click", () => {
      this.shown += AT_ONCE;
      this.draw();
    });
  }

  options(name, values) {
    const found = [...new Set(values.filter((value) => value !== null && value !== undefined))].sort();
    const select = byId(`filter-${name}`);
    for (const value of found) select.append(el("option", { value }, plain(value, 60)));
    select.closest("label").hidden = found.length < 2;
  }

  read() {
    const asked = {};
    for (const name of FILTERS) {
      const field = byId(`filter-${name}`);
      const value = field === null ? this.asked[name] : field.type === "checkbox" ? (field.checked ? "1" : "") : field.value;
      if (value) asked[name] = value;
    }
    this.set(asked, true);
  }

  /** Shows what an address asks for. */
  set(asked, tell = false) {
    this.asked = asked;
    this.shown = AT_ONCE;
    for (const name of FILTERS) {
      const field = byId(`filter-${name}`);
      if (field === null) continue;
      if (field.type === "checkbox") field.checked = Boolean(asked[name]);
      else if (field.value !== (asked[name] ?? "")) field.value = asked[name] ?? "";
    }
    this.draw();
    if (tell) this.changed(asked);
  }

  order(name) {
    const sort = this.asked.sort === name ? `-${name}` : name;
    this.set({ ...this.asked, sort }, true);
  }

  /** The games that pass, in order. */
  get passing() {
    const asked = this.asked;
    const terms = (asked.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.games.filter(
      (game) =>
        terms.every((term) => game.words.includes(term)) &&
        (!asked.winner || (game.status === "finished" && (game.winner ?? NOBODY) === asked.winner)) &&
        (!asked.status || game.status === asked.status) &&
        this.sits(game) &&
        (!asked.min || game.turns >= Number(asked.min)) &&
        (!asked.max || game.turns <= Number(asked.max)) &&
        (!asked.odd || game.invalid + game.fallback > 0),
    );
    const name = (asked.sort ?? "").replace("-", "");
    if (!name) return found;
    const sign = asked.sort.startsWith("-") ? -1 : 1;
    const key = (game) => game[name] ?? "";
    return found.sort((one, other) => sign * (key(one) < key(other) ? -1 : key(one) > key(other) ? 1 : 0) || one.place - other.place);
  }

  /** Whether the model asked for sits there, in the role asked for. */
  sits(game) {
    const { model, role } = this.asked;
    return (!model && !role) || game.seats.some((seat) => (!model || seat[2] === model) && (!role || seat[1] === role));
  }

  draw() {
    const found = this.passing;
    byId("count").textContent = found.length === this.games.length ? `${found.length.toLocaleString("en")} games` : `${found.length.toLocaleString("en")} of ${this.games.length.toLocaleString("en")} games`;
    fill(byId("rows"), found.slice(0, this.shown).map((game) => row(game)));
    byId("more-games").hidden = found.length <= this.shown;
    byId("none").hidden = found.length > 0;
    const [name, sign] = [(this.asked.sort ?? "").replace("-", ""), (this.asked.sort ?? "").startsWith("-")];
    for (const button of document.querySelectorAll("#games thead button")) {
      const mine = button.dataset.sort === name;
      button.closest("th").setAttribute("aria-sort", mine ? (sign ? "descending" : "ascending") : "none");
    }
  }
}

/** How a game is called: its index, or the head of its id while it has none. */
export function called(game) {
  return game.index === null ? game.id.slice(0, 8) : String(game.index);
}

/** Where a game is shown: in this page, in one beside it, or nowhere yet. */
export function address(game) {
  const anchor = `#game=${encodeURIComponent(game.index ?? game.id)}`;
  return game.where === "here" || !game.where ? anchor : `${game.where}${anchor}`;
}

function row(game) {
  const models = [...new Set(game.seats.map((seat) => seat[2]).filter(Boolean))];
  const finished = game.status === "finished";
  return el(
    "tr",
    { class: game.where === "here" ? "" : "elsewhere" },
    el("th", { scope: "row" }, el("a", { href: address(game) }, called(game))),
    el("td", {}, finished ? label(game.winner ?? "–") : ""),
    el("td", {}, el("span", { class: finished ? "" : `chip ${game.status === "unfinished" ? "" : "bad"}` }, plain(game.status, 20)), game.why ? el("span", { class: "quiet" }, " ", plain(game.why, 60)) : null),
    el("td", { class: "number" }, game.turns.toLocaleString("en")),
    el("td", { class: "number" }, seconds(game.seconds)),
    el("td", { class: "number" }, game.tokens ? game.tokens.toLocaleString("en") : "–"),
    el("td", { class: "number" }, game.invalid ? el("span", { class: "chip bad" }, String(game.invalid)) : "0", game.fallback ? el("span", { class: "quiet" }, ` (${game.fallback} fallback)`) : null),
    el("td", {}, models.slice(0, 3).map((model, i) => [i ? ", " : null, label(model)]), models.length > 3 ? " …" : null),
    el("td", {}, game.parent ? el("span", { class: "quiet" }, `fork at turn ${game.forkTurn}`) : ""),
  );
}

function seconds(value) {
  if (!value) return "–";
  if (value < 60) return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
  return `${Math.floor(value / 60)} min ${String(Math.round(value % 60)).padStart(2, "0")} s`;
}

function words(game) {
  const seats = game.seats.map(([name, role, model]) => `${name} ${role ?? ""} ${model ?? ""}`);
  return [game.id, called(game), game.status, game.winner ?? "", game.why, ...seats].join(" ").toLowerCase();
}
