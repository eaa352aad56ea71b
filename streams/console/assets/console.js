// Live pages: on each change of the log the page asks for its own address again, and the parts marked `data-live` take
// the place of the old ones. Without this script every page works, and a reload shows the same.
"use strict";
(() => {
  let under_way = false, again = false, chart = null;

  async function refresh() {
    if (under_way) { again = true; return; }
    under_way = true;
    try {
      const answer = await fetch(location.href, {headers: {"X-Live": seen()}, redirect: "error"});
      if (answer.ok || answer.status === 404) put(new DOMParser().parseFromString(await answer.text(), "text/html"));
      else away("no answer of the console");  // what stands here is old from now on
    } catch { away(); }
    under_way = false;
    if (again) { again = false; refresh(); }
  }

  // The newest call that this page shows: the server counts the newer ones.
  function seen() {
    const table = document.querySelector("table[data-newest]");
    return table ? table.dataset.newest : "";
  }

  function put(fresh) {
    for (const part of fresh.querySelectorAll("[data-live]")) {
      const old = document.getElementById(part.id);
      if (old && old.outerHTML !== part.outerHTML && !old.contains(document.activeElement)) {
        const open = old.querySelector("details[open]") !== null;
        old.replaceWith(document.adoptNode(part));
        const details = part.querySelector("details");
        if (open && details) details.open = true;
      }
    }
    draw();
  }

  function away(why = "no connection to the console") {
    const text = document.getElementById("freshness");
    if (text) { text.className = "stale"; text.textContent = why + " since " + new Date().toISOString().slice(11, 19); }
  }

  function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

  function draw() {
    const place = document.getElementById("chart"), data = document.getElementById("bars");
    if (!place || !data || !window.uPlot) return;
    const bars = JSON.parse(data.dataset.bars);
    const names = ["allowed", "denied", "pending"];
    const series = [bars.map((bar) => bar.at / 1000), ...names.map((name) => bars.map((bar) => bar[name] || 0))];
    if (chart) { chart.setData(series); return; }
    const dashes = {allowed: [], denied: [6, 3], pending: [2, 3]};
    const days = bars.length > 1 && bars[bars.length - 1].at - bars[0].at > 2 * 86400e3;
    const clock = (u, ats) => ats.map((at) => { const t = new Date(at * 1000).toISOString(); return days ? t.slice(5, 10) : t.slice(11, 16); });
    const axis = {stroke: colour("--faint"), grid: {stroke: colour("--line"), width: 1}, ticks: {stroke: colour("--line")}};
    chart = new uPlot({
      width: place.clientWidth, height: 150, axes: [{...axis, values: clock}, axis], tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
      series: [{label: "UTC", value: (u, at) => at === null ? "" : new Date(at * 1000).toISOString().slice(0, 16).replace("T", " ")}, ...names.map((name) => ({label: name, stroke: colour("--" + name), width: 2, dash: dashes[name]}))],
    }, series, place);
  }

  function redraw() { if (chart) { chart.destroy(); chart = null; } draw(); }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("resize", () => { if (chart) chart.setSize({width: document.getElementById("chart").clientWidth, height: 150}); });
  addEventListener("keydown", (event) => {
    const search = document.getElementById("search");
    if (event.key === "/" && search && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) { event.preventDefault(); search.focus(); }
  });
  draw();
  // A browser opens six connections to a host: a page that nobody looks at gives its own back.
  let stream = null;
  function listen() {
    if (document.hidden) { if (stream) { stream.close(); stream = null; } return; }
    if (stream) return;
    stream = new EventSource("/live");
    stream.addEventListener("changed", refresh);
    stream.addEventListener("error", () => away());
    stream.addEventListener("open", refresh);
  }
  document.addEventListener("visibilitychange", listen);
  listen();
})();
