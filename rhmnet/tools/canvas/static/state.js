// What the page knows, and who wants to hear of changes. No other module keeps shared state.

export const state = {
  project: null, // as GET /api/project tells, null on the start page
  videos: [],
  palette: [], // label -> [r, g, b] of mask files
  colours: [], // label -> [r, g, b] as shown
  client: "",
  editor: null, // the client that may edit
  connected: false,
  unsent: 0, // edits that the server has not acknowledged
  frame: 0,
  object: 1, // 1.. or 255, Background
  tool: "brush",
  size: 8, // width of strokes, video pixels
  opacity: 0.5,
  outline: true,
  hidden: false, // all masks
  playing: false,
  tags: new Map(), // frame -> tag of its mask
  standing: new Map(), // frame -> what its mask was when that was told: done, provisional, stale
  doubt: new Map(), // frame -> {object: percent}
  exports: [],
};

const listeners = new Map();

// Call `call` whenever one of the topics, separated by spaces, is told of.
export function on(topics, call) {
  for (const topic of topics.split(" ")) {
    if (!listeners.has(topic)) listeners.set(topic, []);
    listeners.get(topic).push(call);
  }
}

export function tell(topic, detail) {
  for (const call of listeners.get(topic) ?? []) call(detail);
}

export const element = (id) => document.getElementById(id);
// A picture of those that index.html defines, for a button.
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  picture.classList.add("icon");
  picture.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${name}`);
  picture.append(use);
  return picture;
}

export const mayEdit = () => state.editor === null || state.editor === state.client;
export const BACKGROUND = 255;

export function say(text) {
  element("notice-text").textContent = text.charAt(0).toUpperCase() + text.slice(1);
  element("notice").hidden = !text;
}

export function objectOf(number) {
  return state.project?.objects.find((one) => one.number === number);
}

export function cssColour(number, alpha = 1) {
  const [r, g, b] = number === BACKGROUND ? [255, 255, 255] : state.colours[number] ?? [128, 128, 128];
  return `rgb(${r} ${g} ${b} / ${alpha})`;
}

export function goTo(frame) {
  if (!state.project) return;
  const wanted = Math.max(0, Math.min(state.project.frames - 1, Math.round(frame)));
  if (wanted === state.frame || Number.isNaN(wanted)) return;
  state.frame = wanted;
  tell("frame");
}

// Settings of the eye and the hand, kept by the browser, a set a project.
const KEPT = ["frame", "object", "size", "opacity", "outline"];

export function keep() {
  if (!state.project) return;
  const kept = Object.fromEntries(KEPT.map((key) => [key, state[key]]));
  try {
    localStorage.setItem(`rhmnet.view.${state.project.id}`, JSON.stringify(kept));
  } catch {
    // the browser keeps no more: the next page begins with the defaults
  }
}

export function recall() {
  state.size = Math.max(2, Math.round(Math.min(...state.project.size) / 45));
  state.frame = 0;
  state.object = state.project.objects[0]?.number ?? 1;
  try {
    const kept = JSON.parse(localStorage.getItem(`rhmnet.view.${state.project.id}`) ?? "{}");
    for (const key of KEPT) if (typeof kept[key] === typeof state[key]) state[key] = kept[key];
  } catch {
    // what an older page kept: begin with the defaults
  }
  state.frame = Math.max(0, Math.min(state.project.frames - 1, state.frame));
  if (state.object !== BACKGROUND && !objectOf(state.object)) state.object = state.project.objects[0]?.number ?? 1;
}
