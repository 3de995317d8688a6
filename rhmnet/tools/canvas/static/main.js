// Begins the page: asks what there is, then keeps what is known in step with what the server tells.

import { state, on, tell, element, recall, say } from "./state.js";
import { get, post, attempt, connect, recover, Refusal } from "./api.js";
import "./stage.js";
import "./draw.js";
import "./objects.js";
import * as panels from "./panels.js";
import * as timeline from "./timeline.js";
import * as keys from "./keys.js";

async function load() {
  let content;
  try {
    content = await get("/api/project");
  } catch (error) {
    const old = error instanceof Refusal && error.status === 401;
    if (old) say("This link is of an earlier start of the server; open the one that it printed now.");
    else if (!state.project) say("The server does not answer; is it still running?");
    return;
  }
  take(content);
}

function take(content) {
  const before = state.project?.id;
  const { videos, project, palette, colours, editor, reading } = content;
  Object.assign(state, { videos, palette, colours, editor });
  state.project = project;
  element("start").hidden = Boolean(project);
  element("work").hidden = !project;
  element("all-videos").hidden = videos.length < 2;
  if (!project) return showStart(reading);
  if (before === project.id) {
    tell("objects");
    tell("progress");
    tell("strokes");
    tell("next");
  } else {
    state.tags = new Map();
    state.doubt = new Map();
    state.standing = new Map();
    recall();
    tell("project");
  }
  tell("editor");
  loadTags();
  loadDoubt();
  recover(before !== project.id);
}

async function loadTags() {
  const found = await attempt(get("/api/revisions"));
  if (!found || !state.project) return;
  state.project.default_tag = found.revs.default;
  state.tags = new Map(Object.entries(found.revs.frames).map(([frame, tag]) => [Number(frame), tag]));
  tell("mask", state.frame);
}

async function loadDoubt() {
  const found = await attempt(get("/api/reliability"));
  if (!found) return;
  for (const [number, { doubt }] of Object.entries(found.objects)) {
    doubt.forEach((value, frame) => {
      if (value === null) return;
      if (!state.doubt.has(frame)) state.doubt.set(frame, {});
      state.doubt.get(frame)[number] = value;
    });
  }
  tell("mask", -1);
}

function showReading(reading) {
  element("reading").hidden = !reading;
  if (!reading) return;
  const { name, done, of } = reading;
  const share = of ? `${Math.min(99, Math.floor((100 * done) / of))} %` : `${done} frames`;
  element("reading").textContent = `Reading ${name} for the first time: ${share} …`;
}

function showStart(reading = null) {
  showReading(reading);
  document.title = "RHMNet canvas";
  element("videos").replaceChildren(
    ...state.videos.map(({ id, name, saved }) => {
      const line = document.createElement("li");
      const open = document.createElement("button");
      open.type = "button";
      open.textContent = name;
      open.addEventListener("click", async () => {
        open.textContent = `${name}: opening …`;
        const content = await attempt(post("/api/open", { video: id }));
        open.textContent = name;
        if (content) take(content);
      });
      line.append(open, saved ? " begun before" : "");
      return line;
    }),
  );
}

const STANDING = ["revision", "can_undo", "can_redo", "objects", "states", "left", "done", "running", "rate", "seconds_left"];

on("server-edit", (message) => {
  if (!state.project) return;
  for (const key of STANDING) if (message[key] !== undefined) state.project[key] = message[key];
  for (const [frame, numbers] of Object.entries(message.stroked)) {
    if (numbers.length) state.project.stroked[frame] = numbers;
    else delete state.project.stroked[frame];
  }
  state.project.next = null;
  for (const topic of ["objects", "strokes", "progress", "saved", "next"]) tell(topic);
});
on("server-progress", (message) => {
  if (!state.project) return;
  if (state.project.running && !message.running) loadDoubt();
  for (const key of STANDING) if (message[key] !== undefined) state.project[key] = message[key];
  tell("progress");
});
on("server-next", (advice) => {
  if (!state.project) return;
  state.project.next = advice;
  tell("next");
});
on("server-objects", ({ objects }) => {
  if (!state.project) return;
  state.project.objects = objects;
  tell("objects");
});
on("server-editor", ({ client }) => {
  state.editor = client;
  tell("editor");
  tell("saved");
  if (client === state.client && state.project) recover();
});
on("server-error", ({ error }) => say(error));
on("server-reading", ({ reading }) => showReading(reading));
on("server-opened", ({ video }) => video !== state.project?.video && load());
on("away", load); // the server itself may answer, and say why

panels.begin();
timeline.begin();
keys.begin();
element("all-videos").addEventListener("click", () => {
  element("start").hidden = false;
  element("work").hidden = true;
  showStart();
});
connect(load);
