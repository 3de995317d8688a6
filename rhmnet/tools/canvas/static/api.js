// Talking to the server: requests with the link's token, edits in order, one socket that comes back.

import { state, tell, say, mayEdit } from "./state.js";

const fragment = location.hash.slice(1);
if (fragment) sessionStorage.setItem("token", fragment);
const token = fragment || sessionStorage.getItem("token") || "";

// A reload stays the same client; a duplicated tab, which copies the storage, is another one.
state.client = sessionStorage.getItem("client") ?? crypto.getRandomValues(new Uint32Array(3)).join("-");
sessionStorage.removeItem("client");
addEventListener("pagehide", () => sessionStorage.setItem("client", state.client));
addEventListener("pageshow", (event) => event.persisted && sessionStorage.removeItem("client"));

export class Refusal extends Error {
  constructor(status, content) {
    super(content.error ?? `the server answered ${status}`);
    this.status = status;
    this.content = content;
  }
}

export async function request(path, options = {}) {
  const headers = { Authorization: `Bearer ${token}`, ...options.headers };
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer;
  let content = {};
  try {
    content = await answer.json();
  } catch {
    // no JSON: the status has to say it
  }
  throw new Refusal(answer.status, content);
}

export const get = async (path) => (await request(path)).json();

export async function post(path, body = {}) {
  const headers = { "Content-Type": "application/json" };
  body = JSON.stringify({ client: state.client, ...body });
  return (await request(path, { method: "POST", headers, body })).json();
}

// Ask for something; a refusal is shown and gives null.
export async function attempt(promise) {
  try {
    return await promise;
  } catch (error) {
    say(error instanceof Refusal ? error.message : "The server does not answer; is it still running?");
    return null;
  }
}

// Edits. They go one after the other, each based on the revision before it, and stay in the queue
// (and in the browser's storage) until the server says that they are on its disk.

let queue = [];
let sending = false;
let count = 0;
const storage = () => `rhmnet.unsent.${state.project.id}`;

export function edit(operation) {
  if (!state.project || !mayEdit()) return false;
  count += 1;
  queue.push({ id: `${state.client}.${Date.now().toString(36)}.${count}`, operation });
  changed();
  flush();
  return true;
}

export const undo = () => edit({ op: "undo" });
export const redo = () => edit({ op: "redo" });

// Strokes that are drawn and not yet acknowledged, for the echo.
export const waiting = (frame) =>
  queue.map((one) => one.operation).filter((one) => one.op === "stroke" && one.frame === frame);

// Take up what an earlier page could not send, if this one may. another: the project was another's.
export function recover(another) {
  if (another) queue = [];
  if (!mayEdit()) return;
  let kept = [];
  try {
    kept = JSON.parse(localStorage.getItem(storage()) ?? "[]");
  } catch {
    localStorage.removeItem(storage());
  }
  const here = new Set(queue.map((one) => one.id));
  if (Array.isArray(kept)) queue = [...kept.filter((one) => !here.has(one.id)), ...queue];
  changed();
  flush();
}

function changed() {
  state.unsent = queue.length;
  try {
    if (queue.length) localStorage.setItem(storage(), JSON.stringify(queue));
    else localStorage.removeItem(storage());
  } catch {
    // the browser keeps no more: what is not sent stays in this page alone
  }
  tell("saved");
}

async function flush() {
  if (sending || !state.project) return;
  sending = true;
  const project = state.project.id;
  while (queue.length && state.project?.id === project) {
    const { id, operation } = queue[0];
    const base = state.project.revision;
    const path = ["undo", "redo"].includes(operation.op) ? `/api/${operation.op}` : "/api/edits";
    try {
      const done = await post(path, path === "/api/edits" ? { base, id, operation } : { base, id });
      if (state.project?.id !== project) break;
      queue.shift();
      Object.assign(state.project, { revision: done.revision, can_undo: done.can_undo, can_redo: done.can_redo });
      changed();
      tell("acknowledged", { ...operation, ...done });
    } catch (error) {
      if (!(error instanceof Refusal)) break; // the server is away: sent again when it is back
      if (error.status === 409 && error.content.revision !== undefined) {
        state.project.revision = error.content.revision;
        continue;
      }
      if (error.status === 401) break;
      queue = error.content.editor === false ? [] : queue.slice(1);
      changed();
      say(error.message);
      tell("acknowledged", { ...operation, objects: null });
    }
  }
  sending = false;
}

// The socket.

let socket = null;
let pause = 250; // ms before the next try
let heard = Promise.resolve();

// load: asks for all there is, at each hello; what is told meanwhile is taken up afterwards, in order.
export function connect(load) {
  const path = `ws://${location.host}/api/socket?client=${encodeURIComponent(state.client)}`;
  socket = new WebSocket(path, ["rhmnet", `token.${token}`]);
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    heard = heard.then(() => take(message, load)).catch(reportError);
  };
  socket.onclose = () => {
    state.connected = false;
    tell("saved");
    tell("away");
    setTimeout(() => connect(load), pause);
    pause = Math.min(4000, pause * 2);
  };
}

async function take(message, load) {
  if (message.type === "hello") {
    pause = 250;
    state.connected = true;
    await load();
    tell("saved");
    look();
  }
  tell(`server-${message.type}`, message);
}

// Say which frame is looked at: it, and its side, come first.
export function look() {
  if (socket?.readyState === WebSocket.OPEN) {
    socket.send(JSON.stringify({ type: "view", frame: state.frame }));
  }
}
