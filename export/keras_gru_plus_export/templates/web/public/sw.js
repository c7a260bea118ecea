// Keeps all that the page needs, so that it starts without a network. `?build=` names LiteRT.js' WebAssembly.
const VERSION = "{{ version }}";
const CACHE = `keras-gru-plus-${VERSION}`;
const BUILD = new URL(location.href).searchParams.get("build");
const FILES = [
  "./",
  "app.js",
  "charts.js",
  "icon.svg",
  "latency.js",
  "litert.js",
  "manifest.webmanifest",
  "model.json",
  "model.tflite",
  "motion.js",
  "quantization.js",
  "recording.bin",
  "runner.js",
  "style.css",
  "litert/core.js",
  "litert/wasm-utils.js",
  `litert/wasm/${BUILD}.js`,
  `litert/wasm/${BUILD}.wasm`,
];

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(names.filter(isOld).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

const isOld = (name) => name.startsWith("keras-gru-plus-") && name !== CACHE;

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(self.registration.scope)) event.respondWith(answer(event.request));
});

/** LiteRT.js is kept with the version; for all else the network comes first, so that a change is seen at once. */
async function answer(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, { ignoreSearch: true });
  if (kept && request.url.includes("/litert/")) return isolated(kept);
  try {
    const response = await fetch(request);
    if (kept && response.ok) await cache.put(request.url.split("?")[0], response.clone());
    return isolated(response);
  } catch (error) {
    if (kept) return isolated(kept);
    throw error;
  }
}

/** With the headers that give the page a finer clock, whatever server it came from. */
function isolated(response) {
  if (response.type === "opaque") return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
