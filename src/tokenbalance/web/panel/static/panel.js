/* Enhancements of the panel's pages: charts, and buttons that copy. Everything works without them. */
(function () {
  "use strict";

  const SERIES_MAX = 6;

  function color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function short(value) {
    if (value >= 1e9) return +(value / 1e9).toFixed(1) + "G";
    if (value >= 1e6) return +(value / 1e6).toFixed(1) + "M";
    if (value >= 1e3) return +(value / 1e3).toFixed(1) + "k";
    return String(value);
  }

  function day(seconds) {
    return new Date(seconds * 1000).toISOString().slice(0, 10);
  }

  /* Bars that stand on each other: each series is drawn from zero up to its sum with all before,
     the highest first, so that the next covers its lower part. */
  function stacked(series) {
    const sums = [];
    let below = null;
    for (const one of series) {
      below = one.values.map((value, i) => value + (below === null ? 0 : below[i]));
      sums.push(below);
    }
    return sums.reverse();
  }

  function draw(element) {
    const data = JSON.parse(element.dataset.chart);
    const grid = color("--line");
    const text = color("--text-soft");
    const font = "12px " + getComputedStyle(document.body).fontFamily;
    const bars = uPlot.paths.bars({ size: [0.72, 40], radius: 0 });
    const series = data.series.map((one, i) => ({
      label: one.name,
      fill: color("--series-" + (Math.min(i, SERIES_MAX - 1) + 1)),
      width: 0,
      paths: bars,
      points: { show: false },
    }));
    const note = document.createElement("div");
    note.className = "chart-note";
    note.hidden = true;

    function showValues(plot) {
      const i = plot.cursor.idx;
      note.hidden = i === null || i === undefined;
      if (note.hidden) return;
      const lines = [day(data.days[i]) + " UTC"];
      for (const one of data.series) {
        if (one.values[i]) lines.push(one.name + ": " + one.values[i].toLocaleString("en-US"));
      }
      if (lines.length === 1) lines.push("nothing");
      note.textContent = lines.join("\n");
      const left = plot.valToPos(data.days[i], "x") + plot.over.offsetLeft;
      note.classList.toggle("left", left > element.clientWidth / 2);
      note.style.left = left + "px";
    }

    const plot = new uPlot(
      {
        width: element.clientWidth,
        height: 240,
        padding: [12, 8, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { show: false }, drag: { setScale: false, x: false, y: false } },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        scales: {
          x: { range: (_, low, high) => [low - 43200, high + 43200] },
          y: { range: (_, low, high) => [0, Math.max(high, 1) * 1.05] },
        },
        axes: [
          {
            stroke: text, font: font, grid: { show: false }, ticks: { stroke: grid, size: 5 }, size: 32, space: 70,
            values: (_, splits) => splits.map((s) => day(s).slice(5)),
          },
          {
            stroke: text, font: font, grid: { stroke: grid }, ticks: { show: false }, size: 54,
            incrs: [1, 2, 5].concat(...Array.from({ length: 15 }, (_, i) => [10, 20, 25, 50].map((n) => n * 10 ** i))),
            values: (_, splits) => splits.map(short),
          },
        ],
        series: [{}].concat(series.slice().reverse()),
        hooks: { setCursor: [showValues] },
      },
      [data.days].concat(stacked(data.series)),
      element
    );
    element.append(note);
    element.addEventListener("mouseleave", () => { note.hidden = true; });
    new ResizeObserver(() => {
      if (element.clientWidth && element.clientWidth !== plot.width) {
        plot.setSize({ width: element.clientWidth, height: 240 });
      }
    }).observe(element);
  }

  function drawAll() {
    if (typeof uPlot === "undefined") return;
    for (const element of document.querySelectorAll(".chart[data-chart]")) {
      element.replaceChildren();
      draw(element);
    }
  }

  async function copy(button) {
    const text = document.getElementById(button.dataset.copy).textContent;
    let copied = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      /* No clipboard without TLS: select the text and copy it the old way. */
      getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
      copied = document.execCommand("copy");
    }
    const label = button.textContent;
    button.textContent = copied ? "Copied" : "Selected: press Ctrl+C";
    button.disabled = true;
    setTimeout(() => { button.textContent = label; button.disabled = false; }, 2000);
  }

  document.documentElement.classList.add("scripted");
  /* If the tabs are wider than the screen, scroll to the current one. */
  document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
    /* Without scripts it is a link to the same page. */
    const close = event.target.closest("[data-close]");
    if (close) {
      event.preventDefault();
      close.closest("details").open = false;
    }
  });
  /* Only one question is open at a time; Escape closes it. */
  document.addEventListener("toggle", (event) => {
    if (!event.target.matches("details.ask[open]")) return;
    for (const other of document.querySelectorAll("details.ask[open]")) {
      if (other !== event.target) other.open = false;
    }
  }, true);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const open of document.querySelectorAll("details.ask[open]")) {
      open.open = false;
      open.querySelector("summary").focus();
    }
  });
  document.addEventListener("htmx:afterSwap", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  drawAll();
})();
