// Draws the charts in the page's own colours, and again when the page turns dark or light.
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  const config = () => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const font = style.getPropertyValue("--sans").trim();
    return {
      font,
      view: { stroke: null },
      axis: {
        labelColor: colour("--soft"), titleColor: colour("--soft"), gridColor: colour("--line"),
        domainColor: colour("--line"), tickColor: colour("--line"), labelFontSize: 12,
        titleFontSize: 12, titleFontWeight: 500, titlePadding: 10, labelPadding: 6,
      },
      axisX: { grid: false },
      legend: { labelColor: colour("--ink"), labelFontSize: 13, symbolSize: 90, padding: 0, offset: 12 },
    };
  };

  const draw = () => {
    for (const [id, spec] of Object.entries(charts)) {
      window.vegaEmbed(`#chart-${id}`, spec, {
        actions: false, renderer: "svg", ast: true, defaultStyle: false, config: config(),
      }).catch((error) => console.error(id, error));
    }
  };

  draw();
  dark.addEventListener("change", draw);
})();
