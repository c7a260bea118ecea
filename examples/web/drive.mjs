// Drives the page of an export in headless Chromium; the answer is one line of JSON on stdout.
//
//   node drive.mjs open WEB                 what the page says of itself
//   node drive.mjs play WEB                 plays the recording in the page, online and offline
//   node drive.mjs measure WEB [WEB ...]    the file's own numbers for the whole recording, of several exports
//   node drive.mjs shots WEB DIRECTORY      pictures of the page on a phone and on a desk, light and dark
//   node drive.mjs run WEB                  the jobs in WEB/public/job/jobs.json, for benchmarks/platforms.py
//
// WEB is the folder `web` of an export in which `npm install` was run. CHROMIUM names the browser; OLD_BROWSER takes
// relaxed SIMD from it.
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

/** The folder's own server, as `npm start` runs it. */
async function serve(web) {
  const child = spawn("node", ["serve.mjs", "0"], { cwd: web, stdio: ["ignore", "pipe", "inherit"] });
  const address = await new Promise((resolve, reject) => {
    child.stdout.once("data", (text) => resolve(String(text).match(/http:\S+/)[0]));
    child.on("exit", (code) => reject(new Error(`serve.mjs ended with ${code}`)));
  });
  return {
    address,
    stop: () =>
      new Promise((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) resolve();
        child.removeAllListeners("exit");
        child.on("exit", resolve);
        child.kill();
      }),
  };
}

async function opened(context, address, messages, { offline = true } = {}) {
  const page = await context.newPage();
  if (process.env.OLD_BROWSER) await page.addInitScript(withoutRelaxedSimd);
  page.on("console", (message) => messages.push({ type: message.type(), text: message.text() }));
  page.on("pageerror", (error) => messages.push({ type: "error", text: String(error) }));
  await page.goto(address);
  await ready(page, offline);
  return page;
}

/** An older browser: LiteRT.js tries a tiny module to see what there is. */
function withoutRelaxedSimd() {
  const { instantiate } = WebAssembly;
  WebAssembly.instantiate = (source, ...others) =>
    source.byteLength < 100 ? Promise.reject(new Error("no relaxed SIMD")) : instantiate(source, ...others);
}

/** Waits for the model, and for the copy that works without a network. */
async function ready(page, offline = true) {
  const done = `${offline ? "works offline|needs a network" : "ready in"}|Expected|did not load`;
  await page.waitForFunction((text) => new RegExp(text).test(document.getElementById("status").textContent), done);
}

const status = (page) => page.textContent("#status");
const measured = (page) => page.evaluate(() => globalThis.page.measure());

/** What the page says of itself once it is there. */
async function open(browser, server) {
  const messages = [];
  const context = await browser.newContext();
  const page = await opened(context, server.address, messages);
  const found = { status: await status(page), messages };
  await context.close();
  return found;
}

async function measure(browser, server, ...others) {
  const found = [];
  for (const one of [server, ...(await Promise.all(others.map(serve)))]) {
    const messages = [];
    const context = await browser.newContext();
    const page = await opened(context, one.address, messages, { offline: false });
    found.push({ runtime: await page.textContent("#runtime"), outputs: await measured(page), messages });
    await context.close();
    await one.stop();
  }
  return found;
}

async function play(browser, server) {
  const messages = [];
  const context = await browser.newContext();
  const page = await opened(context, server.address, messages);
  const outputs = await measured(page);
  const found = {
    status: await status(page),
    outputs,
    answer: await page.textContent("#answer"),
    latency: await page.evaluate(() => [0.5, 0.95, 0.99].map((share) => globalThis.page.latency.percentile(share))),
    isolated: await page.evaluate(() => crossOriginIsolated),
  };
  // A click plays at the signal's own rate.
  await page.click("#play");
  await page.waitForFunction(() => globalThis.page.position > 20);
  found.playing = await page.textContent("#play");
  await page.click("#play");
  found.live = await live(page);
  found.files = await page.evaluate(async () => {
    const [name] = await caches.keys();
    return (await (await caches.open(name)).keys()).map(({ url }) => new URL(url).pathname);
  });
  await server.stop();
  await page.reload();
  await ready(page);
  found.offline = { status: await status(page), outputs: await measured(page) };
  found.messages = messages;
  await context.close();
  return found;
}

/** Live motion, made of events as a phone sends them: a sine of 1 Hz at 60 events a second. */
async function live(page) {
  if (await page.isHidden("#live")) return null;
  return page.evaluate(async () => {
    const rows = [];
    const { push } = globalThis.page;
    globalThis.page.push = (row) => {
      rows.push([...row]);
      return push.call(globalThis.page, row);
    };
    await globalThis.page.live();
    const started = performance.now();
    while (performance.now() - started < 1200) {
      const value = Math.sin((2 * Math.PI * performance.now()) / 1000);
      const axes = { x: 9.80665 * value, y: 0, z: -9.80665 };
      const turns = { alpha: 180, beta: 0, gamma: 90 * value };
      dispatchEvent(
        new DeviceMotionEvent("devicemotion", { accelerationIncludingGravity: axes, rotationRate: turns, interval: 16 }),
      );
      await new Promise((resolve) => setTimeout(resolve, 1000 / 60));
    }
    const seconds = (performance.now() - started) / 1000;
    await globalThis.page.live();
    delete globalThis.page.push;
    return { rows, seconds };
  });
}

const SCREENS = {
  phone: { width: 360, height: 740, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
  desk: { width: 1280, height: 800, deviceScaleFactor: 1 },
};

async function shots(browser, server, directory) {
  mkdirSync(directory, { recursive: true });
  const made = [];
  for (const [name, { width, height, ...screen }] of Object.entries(SCREENS)) {
    for (const colorScheme of ["light", "dark"]) {
      const context = await browser.newContext({ viewport: { width, height }, colorScheme, ...screen });
      const page = await opened(context, server.address, []);
      await measured(page);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      const path = join(directory, `${name}-${colorScheme}.png`);
      await page.screenshot({ path });
      made.push({ path, width, scrollWidth: wide });
      await context.close();
    }
  }
  await both(browser, directory);
  return made;
}

/** Desk and phone in one picture, for documentation. */
async function both(browser, directory) {
  const image = (name) => `data:image/png;base64,${readFileSync(join(directory, name)).toString("base64")}`;
  const page = await browser.newPage({ viewport: { width: 1000, height: 520 } });
  await page.setContent(`
    <body style="margin: 0; background: #dfe4e9">
      <img src="${image("desk-light.png")}" style="position: absolute; top: 30px; left: 18px; width: 710px; border-radius: 8px">
      <img src="${image("phone-dark.png")}" style="position: absolute; top: 18px; right: 18px; height: 484px; border-radius: 18px">
    </body>`);
  await page.waitForFunction(() => [...document.images].every((one) => one.complete));
  await page.screenshot({ path: join(directory, "both.png") });
  await page.close();
}

/** Other files over samples that are integers already; the results are written beside the jobs. */
async function run(browser, server) {
  const folder = join(web, "public", "job");
  const messages = [];
  const context = await browser.newContext();
  const page = await opened(context, server.address, messages);
  const runtime = await page.textContent("#runtime");
  const made = [];
  for (const job of JSON.parse(readFileSync(join(folder, "jobs.json"), "utf8"))) {
    const { text, seconds } = await page.evaluate(inPage, job);
    writeFileSync(join(folder, job.result), Buffer.from(text, "base64"));
    made.push({ result: job.result, seconds });
  }
  await context.close();
  return { version: browser.version(), runtime, made, messages };
}

/** Runs in the page: the output of every invoke, one after the other, as base64. */
async function inPage({ model, data, mode, inputs, outputs, samples, steps, input, output }) {
  const { CompiledModel } = await import("./litert.js");
  const get = async (name) => (await fetch(`job/${name}`)).arrayBuffer();
  const [bytes, signal] = [new Uint8Array(await get(model)), new Int8Array(await get(data))];
  const each = signal.length / samples / steps;
  const parts = [];
  const started = performance.now();
  let compiled = await CompiledModel.compile(bytes, { inputs, outputs });
  for (let sample = 0; sample < samples; sample++) {
    if (sample && mode === "stateful") {
      compiled.delete();
      compiled = await CompiledModel.compile(bytes, { inputs, outputs });
    }
    let states = {};
    for (const { name, shape, zero_point: zero } of inputs.filter((one) => one.name.startsWith("state_"))) {
      states[name] = new Int8Array(shape.reduce((a, b) => a * b)).fill(zero);
    }
    for (let step = 0; step < steps; step++) {
      const start = (sample * steps + step) * each;
      const found = compiled.run({ ...states, [input]: signal.slice(start, start + each) });
      for (const name of Object.keys(states)) states[name] = found[name];
      parts.push(found[output]);
    }
  }
  const seconds = (performance.now() - started) / 1000;
  compiled.delete();
  const url = await new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(new Blob(parts));
  });
  return { text: url.slice(url.indexOf(",") + 1), seconds };
}

const [command, web, ...others] = process.argv.slice(2);
const commands = { open, play, measure, shots, run };
if (!commands[command] || !web) {
  console.error("Expected open, play, measure, shots or run, and the folder web of an export; see the top of drive.mjs.");
  process.exit(2);
}
const server = await serve(web);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // In a container Chromium has no sandbox of its own; no page from elsewhere is opened here.
  args: ["--no-sandbox", "--disable-gpu"],
});
try {
  const version = browser.version();
  console.log(JSON.stringify({ version, [command]: await commands[command](browser, server, ...others) }));
} finally {
  await browser.close();
  await server.stop();
}
