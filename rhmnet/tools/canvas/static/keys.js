// Keys: what they do, and the list that ? shows. Fields keep the keys that they need themselves.

import { state, element, goTo, BACKGROUND } from "./state.js";
import { undo, redo } from "./api.js";
import { select, addObject } from "./objects.js";
import { fit, zoom } from "./stage.js";
import { useTool, setSize, hideMasks, toggleRun } from "./panels.js";
import { play, toNext, toStroked } from "./timeline.js";

const LIST = [
  ["1 – 9", "draw on this object"],
  ["0", "draw background"],
  ["B", "brush"],
  ["E", "eraser"],
  ["[ ]", "smaller, larger brush"],
  ["Ctrl+Z", "undo"],
  ["Ctrl+Shift+Z", "redo (also Ctrl+Y)"],
  ["← →", "frame before, after"],
  ["Shift+← →", "ten frames"],
  ["Home End", "first, last frame"],
  ["PgUp PgDn", "stroked frame before, after"],
  ["N", "next stroke: where one more helps most"],
  ["Space", "play, stop"],
  ["Enter", "run, pause"],
  ["H", "hide masks"],
  ["A", "add an object"],
  ["Wheel", "zoom (also + and −)"],
  ["Middle drag", "move the picture (also Alt+drag, two fingers)"],
  ["F", "fit the picture"],
  ["?", "this list"],
];

const PLAIN = {
  b: () => useTool("brush"),
  e: () => useTool("eraser"),
  "[": () => setSize(state.size - (state.size > 20 ? 4 : state.size > 8 ? 2 : 1)),
  "]": () => setSize(state.size + (state.size >= 20 ? 4 : state.size >= 8 ? 2 : 1)),
  home: () => goTo(0),
  end: () => goTo(state.project.frames - 1),
  pageup: () => toStroked(-1),
  pagedown: () => toStroked(1),
  n: toNext,
  " ": () => play(),
  enter: toggleRun,
  h: () => hideMasks(!state.hidden),
  a: addObject,
  f: fit,
  "+": () => zoom(1.25),
  "=": () => zoom(1.25),
  "-": () => zoom(0.8),
  "?": showHelp,
  0: () => select(BACKGROUND),
};
for (let number = 1; number <= 9; number += 1) PLAIN[number] = () => select(number);

export function showHelp() {
  element("help").showModal();
}

// Whether the key belongs to what has the focus: text to type, a button to press.
function isTaken(event, key) {
  const { target } = event;
  if (document.querySelector("dialog[open]")) return true;
  if (target.matches("input:not([type=checkbox]):not([type=range]), textarea, select")) return true;
  if (target.matches("input[type=range]")) return key.startsWith("arrow") || ["home", "end", "pageup", "pagedown"].includes(key);
  if (target.matches("button, summary, input[type=checkbox]")) return key === " " || key === "enter";
  return false;
}

function pressed(event) {
  if (!state.project || event.isComposing) return;
  // on keyboards of other scripts the place says which letter it is
  const key = event.key > "~" && event.key.length === 1 ? event.code.replace("Key", "").toLowerCase() : event.key.toLowerCase();
  if (isTaken(event, key)) return;
  let call = null;
  if ((event.ctrlKey || event.metaKey) && !event.getModifierState("AltGraph")) {
    if (key === "z") call = event.shiftKey ? redo : undo;
    else if (key === "y") call = redo;
  } else if (event.altKey && !event.getModifierState("AltGraph")) {
    return;
  } else if (key === "arrowleft" || key === "arrowright") {
    const step = (key === "arrowleft" ? -1 : 1) * (event.shiftKey ? 10 : 1);
    call = () => goTo(state.frame + step);
  } else {
    call = PLAIN[key];
  }
  if (!call) return;
  event.preventDefault();
  call();
}

export function begin() {
  element("keys").replaceChildren(
    ...LIST.flatMap(([key, text]) => {
      const [term, meaning] = [document.createElement("dt"), document.createElement("dd")];
      const name = document.createElement("kbd");
      name.textContent = key;
      term.append(name);
      meaning.textContent = text;
      return [term, meaning];
    }),
  );
  element("help-open").addEventListener("click", showHelp);
  element("help-close").addEventListener("click", () => element("help").close());
  addEventListener("keydown", pressed);
}
