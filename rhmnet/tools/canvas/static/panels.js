// The top and the right side: history, running, what is saved, brush, masks, files.

import { state, on, tell, element, icon, mayEdit, say, keep } from "./state.js";
import * as api from "./api.js";
import { fit, zoom } from "./stage.js";

const KINDS = {
  masks: "Masks (palette PNG)",
  mp4: "Overlay video (.mp4)",
  webm: "Overlay video (.webm)",
  objects: "A mask an object",
  cutouts: "Cut-outs (RGBA)",
  coco: "COCO JSON",
  summary: "Summary",
  strokes: "Strokes as label maps",
  davis: "Strokes as DAVIS JSON",
};

export function useTool(tool) {
  state.tool = tool;
  tell("tool");
}

export function setSize(size) {
  state.size = Math.max(1, Math.min(100, Math.round(size * 2) / 2));
  tell("tool");
}

export function hideMasks(hidden) {
  state.hidden = hidden;
  element("hide").checked = hidden;
  tell("style");
}

export async function toggleRun() {
  if (!state.project) return;
  const wanted = state.project.running ? "/api/pause" : "/api/run";
  const done = await api.attempt(api.post(wanted, wanted === "/api/run" ? { frame: state.frame } : {}));
  if (done) Object.assign(state.project, done);
  showProgress();
}

export function clearFrame() {
  if (state.project?.stroked[state.frame]) api.edit({ op: "clear", frame: state.frame });
}

const percent = (value) => `${Math.round(100 * value)} %`;

function showTools() {
  element("brush").setAttribute("aria-pressed", String(state.tool === "brush"));
  element("eraser").setAttribute("aria-pressed", String(state.tool === "eraser"));
  element("size").value = state.size;
  element("size-value").textContent = `${state.size} px`;
  element("opacity").value = 100 * state.opacity;
  element("opacity-value").textContent = percent(state.opacity);
  element("outline").checked = state.outline;
}

function showHistory() {
  const project = state.project;
  if (!project) return;
  element("undo").disabled = !mayEdit() || !(project.can_undo || state.unsent);
  element("redo").disabled = !mayEdit() || !project.can_redo;
  element("clear").disabled = !mayEdit() || !project.stroked[state.frame];
  element("run").disabled = !mayEdit();
  const saved = element("saved");
  saved.className = state.connected ? (state.unsent ? "waiting" : "safe") : "away";
  saved.textContent = !state.connected
    ? `Not connected${state.unsent ? `; ${state.unsent} not saved yet` : ""}`
    : state.unsent
      ? `Saving ${state.unsent} …`
      : `✓ Saved (${project.revision} ${project.revision === 1 ? "edit" : "edits"})`;
  element("viewer").hidden = mayEdit();
}

function clock(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const whole = Math.ceil(seconds);
  return whole < 60 ? `${whole} s left` : `${Math.floor(whole / 60)} min ${whole % 60} s left`;
}

function showProgress() {
  const project = state.project;
  if (!project) return;
  const { running, done, left, rate, seconds_left: seconds, frames, settings } = project;
  element("run").replaceChildren(icon(running ? "pause" : "run"), running ? " Pause" : " Run");
  element("run").setAttribute("aria-pressed", String(Boolean(running)));
  element("bar").max = frames;
  element("bar").value = done;
  const speed = running && rate ? `, ${rate.toFixed(1)} frames/s, ${clock(seconds)}` : "";
  const standing = !settings ? ", loading the network …" : running ? speed : left ? ", paused" : "";
  element("rate").textContent = `${done} of ${frames} frames done${standing}`;
  document.title = `${running ? `${Math.floor((100 * done) / frames)} % ` : ""}${project.name} · RHMNet canvas`;
}

function showExports() {
  const list = element("exports");
  list.replaceChildren(
    ...state.exports.map((job) => {
      const line = document.createElement("li");
      const what = document.createElement("span");
      const made = job.state === "working" ? `${job.done} of ${job.of} …` : job.state === "failed" ? job.error : job.folder;
      what.textContent = `${job.id}. ${job.kinds.map((kind) => KINDS[kind] ?? kind).join(", ")}: ${made}`;
      line.className = job.state;
      line.append(what);
      if (job.state === "ready") {
        const load = document.createElement("button");
        load.type = "button";
        load.textContent = "Download";
        load.addEventListener("click", () => download(job));
        line.append(load);
      }
      return line;
    }),
  );
}

async function download(job) {
  const answer = await api.attempt(api.request(`/api/exports/${job.id}`));
  if (!answer) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = `${state.project.name}-${job.id}.zip`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function bringIn(file) {
  const kind = file.name.toLowerCase().endsWith(".json") ? "json" : "map";
  const id = `${state.client}.${state.project.revision}.file`;
  const values = { client: state.client, id, frame: state.frame, kind };
  const headers = { "Content-Type": "application/octet-stream" };
  const send = (base) => api.request(`/api/imports?${new URLSearchParams({ ...values, base })}`, { method: "POST", headers, body: file });
  const again = (error) => (error.content?.revision === undefined ? Promise.reject(error) : send(error.content.revision));
  const answer = await api.attempt(send(state.project.revision).catch(again)); // a stroke may have come before it
  if (!answer) return;
  const done = await answer.json();
  state.project.revision = done.revision;
  say(`${file.name}: strokes on ${done.frames.length === 1 ? `frame ${done.frames[0]}` : `${done.frames.length} frames`}. ${done.notes.join(" ")}`);
}

async function startExport() {
  const kinds = Object.keys(KINDS).filter((kind) => element(`kind-${kind}`).checked);
  if (!kinds.length) return say("Choose what to export.");
  if (await api.attempt(api.post("/api/exports", { kinds }))) loadExports();
}

async function loadExports() {
  const found = await api.attempt(api.get("/api/exports"));
  if (!found) return;
  // what the socket told meanwhile is newer than an answer that was under way
  const ended = new Map(state.exports.filter((job) => job.state !== "working").map((job) => [job.id, job]));
  state.exports = found.exports.map((job) => ended.get(job.id) ?? job);
  showExports();
}

function press(id, call) {
  element(id).addEventListener("click", call);
}

export function begin() {
  element("export-kinds").replaceChildren(
    ...Object.entries(KINDS).map(([kind, text]) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      Object.assign(box, { type: "checkbox", id: `kind-${kind}`, checked: kind === "masks" });
      label.className = "check";
      label.append(box, ` ${text}`);
      return label;
    }),
  );
  press("undo", api.undo);
  press("redo", api.redo);
  press("run", toggleRun);
  press("brush", () => useTool("brush"));
  press("eraser", () => useTool("eraser"));
  press("clear", clearFrame);
  press("fit", fit);
  press("zoom-in", () => zoom(1.25));
  press("zoom-out", () => zoom(0.8));
  press("export", startExport);
  press("take", () => api.attempt(api.post("/api/take")));
  press("notice-close", () => say(""));
  element("size").addEventListener("input", (event) => setSize(Number(event.target.value)));
  element("opacity").addEventListener("input", (event) => {
    state.opacity = Number(event.target.value) / 100;
    tell("style");
  });
  element("outline").addEventListener("change", (event) => {
    state.outline = event.target.checked;
    tell("style");
  });
  element("hide").addEventListener("change", (event) => hideMasks(event.target.checked));
  element("export-panel").addEventListener("toggle", (event) => event.target.open && loadExports());
  element("import").addEventListener("change", async (event) => {
    for (const file of state.project ? event.target.files : []) await bringIn(file);
    event.target.value = "";
  });
}

function showSettings() {
  const { settings, size: [height, width], fps, folder } = state.project;
  let network = "The network is being loaded";
  if (settings) {
    const [h, w] = settings.size;
    network = `Network: ${settings.network}, at ${w}×${h} on ${settings.device} in ${settings.precision}`;
  }
  element("settings").textContent = `${width}×${height}, ${fps.toFixed(2)} frames/s. ${network}. Kept in ${folder}.`;
}

on("tool style project", () => state.project && (showTools(), keep()));
on("saved editor project frame strokes", showHistory);
on("project progress strokes", showProgress);
on("project", () => {
  state.exports = [];
  showExports();
  if (!state.project) return;
  element("name").textContent = state.project.name;
  showSettings();
  element("kind-coco").disabled = !state.project.can_coco;
  say(state.project.note ?? ""); // what was said of another video is over
});
on("server-settings", ({ settings }) => {
  if (!state.project) return;
  state.project.settings = settings;
  showSettings();
});
on("server-export", (job) => {
  const at = state.exports.findIndex((one) => one.id === job.id);
  if (at < 0) state.exports.push(job);
  else state.exports[at] = job;
  showExports();
});
