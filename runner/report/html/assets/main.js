// The address says what is shown: #overview, #games&winner=…, #game=3&turn=12. Keys do the rest.

import { byId } from "./dom.js";
import { readGames } from "./data.js";
import { FILTERS, GameList } from "./list.js";
import { Viewer } from "./viewer.js";

const VIEWS = ["overview", "games", "game"];

function parse(hash) {
  const text = hash.replace(/^#/, "");
  const asked = new URLSearchParams(text);
  if (asked.has("game")) return { view: "game", asked };
  const name = text.split("&")[0];
  return { view: name === "games" || byId("overview") === null ? "games" : "overview", anchor: name, asked };
}

function replaceAddress(parts) {
  const text = Object.entries(parts).filter(([, value]) => value !== "" && value !== undefined).map(([name, value]) => (value === true ? name : `${name}=${encodeURIComponent(value)}`)).join("&");
  history.replaceState(null, "", `#${text}`);
}

function visible(view) {
  for (const name of VIEWS) {
    const node = byId(name);
    if (node) node.hidden = name !== view;
  }
  for (const link of document.querySelectorAll("nav a[data-view]")) {
    if (link.dataset.view === (view === "game" ? "games" : view)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function start(rows) {
  const list = new GameList(rows, (asked) => replaceAddress({ games: true, ...asked }));
  const viewer = new Viewer(rows, list, (parts, reopen) => {
    replaceAddress(parts);
    if (reopen) route();
  });
  let before = null;

  async function route() {
    const { view, anchor, asked } = parse(location.hash);
    visible(view);
    if (view === "games") list.set(Object.fromEntries(FILTERS.filter((name) => asked.get(name)).map((name) => [name, asked.get(name)])));
    if (view === "game") {
      await viewer.open({ game: asked.get("game"), turn: asked.get("turn") ?? undefined, beside: asked.get("with") || undefined, show: asked.get("show") ?? undefined });
    }
    if (view !== before) {
      if (anchor && anchor !== "overview" && view === "overview" && byId(anchor)) byId(anchor).scrollIntoView();
      else window.scrollTo(0, 0);
    }
    before = view;
    document.documentElement.dataset.ready = view; // for whoever waits for it
  }

  const KEYS = {
    ArrowRight: () => viewer.step(1), j: () => viewer.step(1), " ": () => viewer.step(1),
    ArrowLeft: () => viewer.step(-1), k: () => viewer.step(-1),
    ArrowDown: () => viewer.phase(1), ArrowUp: () => viewer.phase(-1),
    Home: () => viewer.edge(false), End: () => viewer.edge(true),
    r: () => viewer.toggle("roles"), t: () => viewer.toggle("thoughts"), p: () => viewer.toggle("prompts"),
    c: () => viewer.compare(), "]": () => viewer.neighbour(1), "[": () => viewer.neighbour(-1),
    Escape: () => { location.hash = "#games"; },
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    const typing = event.target.closest("input:not([type=range]), select, textarea");
    if (typing && event.key !== "Escape") return;
    if (event.target.matches("input[type=range]") && /^(Arrow|Home|End)/.test(event.key)) return;
    if (event.key === "?") return void byId("help").showModal();
    if (event.key === "/" || event.key === "g") {
      event.preventDefault();
      location.hash = "#games";
      if (event.key === "/") setTimeout(() => byId("filter-q").focus());
      return;
    }
    if (event.key === "o" && byId("overview")) return void (location.hash = "#overview");
    if (typing) return void typing.blur();
    const onButton = event.key === " " && event.target.closest("button, a, summary, [tabindex]");
    const scrolls = event.key.startsWith("Arrow") && event.target.closest(".whole");
    const act = KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
    if (act === undefined || onButton || scrolls || byId("game").hidden) return;
    event.preventDefault();
    act();
  });

  byId("help-open").addEventListener("click", () => byId("help").showModal());
  byId("help-close").addEventListener("click", () => byId("help").close());
  window.addEventListener("hashchange", route);
  return route();
}

if (typeof DecompressionStream === "undefined") {
  byId("old-browser").hidden = false;
} else {
  readGames().then(start);
}
