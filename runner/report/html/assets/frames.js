// A game as frames, one per turn: its moves, and what was told with them. Simultaneous moves share a
// turn. What follows a move belongs to its frame, up to the next phase; a last frame is the end.

/** Adds `frames` and `moves` to an unpacked game. */
export function framed(game) {
  const moves = game.events.filter((event) => event.k === "move");
  const frames = [];
  let next = fresh(null); // what comes before the next move
  let frame = null;
  for (const event of game.events) {
    if (event.k === "move" && frame?.turn !== event.turn) {
      frame = { ...next, turn: event.turn };
      next = fresh(null);
      frames.push(frame);
    } else if (event.k === "move" && next.events.length) {
      frame.events.push(...next.events);
      next = fresh(null);
    } else if (event.k === "phase") {
      next.events.push(event);
      continue;
    }
    (event.k === "move" || (frame && !next.events.length) ? frame : next).events.push(event);
  }
  frames.push(next);
  let phase = null;
  const gone = new Set();
  for (const one of frames) {
    for (const event of one.events) {
      if (event.k === "phase") phase = event;
      if (event.gone !== undefined) gone.add(event.gone);
    }
    one.moves = one.events.filter((event) => event.k === "move");
    one.phase = phase;
    one.gone = new Set(gone);
  }
  return { ...game, moves, frames };
}

function fresh(turn) {
  return { turn, events: [] };
}

/** The frame for a turn as an address gives it: a number, or "end". */
export function frameAt(game, turn) {
  if (turn === "end") return game.frames.length - 1;
  const wanted = Number(turn);
  if (!Number.isFinite(wanted)) return 0;
  let found = 0;
  game.frames.forEach((frame, place) => {
    if (frame.turn !== null && frame.turn <= wanted) found = place;
  });
  return found;
}

/** Whether everybody at the table could know of this event. */
export function isOpen(event) {
  return event.k === "move" ? Boolean(event.open) : event.to === undefined;
}
