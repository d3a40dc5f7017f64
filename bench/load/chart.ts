/** One bar. `lowest` and `highest` show the spread over the rounds. */
export type Bar = { label: string; value: number; lowest: number; highest: number; isLimit: boolean };
export type Panel = { title: string; bars: Bar[] };

const width = 860;
const labelWidth = 330;
const valueWidth = 90;
const rowHeight = 24;
const barHeight = 14;

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** The smallest number of the form 1, 2 or 5 times a power of ten that is at least `number`. */
export function roundUp(number: number): number {
  const power = 10 ** Math.floor(Math.log10(number));
  return ([1, 2, 5].find((step) => step * power >= number) ?? 10) * power;
}

/** The values of the grid lines of a scale up to `most`: at most six, starting at 0. */
export function ticksOf(most: number): number[] {
  const step = roundUp(most / 5);
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, index) => index * step);
}

/**
 * Draws horizontal bars in panels, as a complete SVG. Each panel has its own scale, which begins at 0. The colours
 * follow the reader's light or dark theme.
 */
export function drawChart(title: string, subtitle: string, panels: readonly Panel[]): string {
  const parts: string[] = [];
  let y = 64;
  const text = (x: number, at: number, kind: string, content: string, anchor = 'start'): void => {
    parts.push(`<text x="${x}" y="${at}" class="${kind}" text-anchor="${anchor}">${escaped(content)}</text>`);
  };
  text(16, 28, 'title', title);
  text(16, 46, 'quiet', subtitle);
  for (const { title: heading, bars } of panels) {
    if (bars.length === 0) continue;
    y += 22;
    text(16, y, 'heading', heading);
    y += 12;
    const most = Math.max(...bars.map(({ highest }) => highest));
    const xOf = (value: number): number =>
      Math.round((labelWidth + (value / most) * (width - labelWidth - valueWidth)) * 10) / 10;
    const bottom = y + bars.length * rowHeight;
    for (const tick of ticksOf(most)) {
      parts.push(`<line x1="${xOf(tick)}" x2="${xOf(tick)}" y1="${y}" y2="${bottom}" class="grid"/>`);
      text(xOf(tick), bottom + 14, 'quiet', tick.toLocaleString('en-GB'), 'middle');
    }
    for (const { label, value, lowest, highest, isLimit } of bars) {
      const middle = y + rowHeight / 2;
      text(labelWidth - 10, middle + 4, 'label', label, 'end');
      const size = `width="${Math.max(xOf(value) - labelWidth, 1).toFixed(1)}" height="${barHeight}"`;
      const kind = isLimit ? 'limit' : 'bar';
      parts.push(`<rect x="${labelWidth}" y="${middle - barHeight / 2}" ${size} rx="2" class="${kind}"/>`);
      parts.push(`<line x1="${xOf(lowest)}" x2="${xOf(highest)}" y1="${middle}" y2="${middle}" class="spread"/>`);
      text(xOf(highest) + 8, middle + 4, 'value', Math.round(value).toLocaleString('en-GB'));
      y += rowHeight;
    }
    y += 26;
  }
  const style = `
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .title { font-size: 17px; font-weight: 600 } .heading { font-weight: 600 }
    .quiet { font-size: 11px; fill: #59636e } .value { font-variant-numeric: tabular-nums }
    .grid { stroke: #d1d9e0 } .spread { stroke: #1f2328; stroke-width: 2 }
    .bar { fill: #2f6feb } .limit { fill: #9aa4b0 } .ground { fill: #ffffff }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 } .quiet { fill: #9198a1 } .grid { stroke: #3d444d } .spread { stroke: #e6edf3 }
      .bar { fill: #4c8dff } .limit { fill: #6a737d } .ground { fill: #0d1117 }
    }`;
  const height = y + 4;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<style>${style}\n</style>`,
    `<rect width="${width}" height="${height}" rx="8" class="ground"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}
