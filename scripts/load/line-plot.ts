/** One line of a plot. */
export interface Line {
  readonly label: string;
  /** Any colour of SVG. */
  readonly color: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  readonly dashed?: boolean;
}

/** A plot whose x axis is logarithmic, base 2. */
export interface Plot {
  readonly title: string;
  readonly xLabel: string;
  readonly lines: readonly Line[];
  /** Whether the y axis is logarithmic too. */
  readonly logarithmic?: boolean;
}

const WIDTH = 420;
const HEIGHT = 300;
const MARGIN = { left: 56, right: 12, top: 34, bottom: 44 };

/** Plots side by side, as one SVG. */
export function plotsToSvg(plots: readonly Plot[]): string {
  const width = plots.length * WIDTH;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${HEIGHT}" width="${width}" height="${HEIGHT}" font-family="sans-serif" font-size="11">`,
    `<title>${plots.map(({ title }) => title).join(', ')}</title>`,
    '<rect width="100%" height="100%" fill="white"/>',
    ...plots.map((plot, i) => `<g transform="translate(${i * WIDTH} 0)">\n${plotToSvg(plot)}\n</g>`),
    '</svg>',
    '',
  ].join('\n');
}

function plotToSvg({ title, xLabel, lines, logarithmic = false }: Plot): string {
  const points = lines.flatMap((line) => line.points);
  const xs = [...new Set(points.map(([x]) => x))].sort((a, b) => a - b);
  const values = points.map(([, y]) => y);
  const ticks = logarithmic ? powersOfTen(values) : steps(Math.max(...values));
  const scale = (value: number) => (logarithmic ? Math.log10(value) : value);
  const x = position([Math.log2(xs[0]), Math.log2(xs[xs.length - 1])], [MARGIN.left, WIDTH - MARGIN.right]);
  const y = position([scale(ticks[0]), scale(ticks[ticks.length - 1])], [HEIGHT - MARGIN.bottom, MARGIN.top]);
  const grid = ticks.flatMap((tick) => {
    const at = y(scale(tick)).toFixed(1);
    return [
      `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${at}" y2="${at}" stroke="#ddd"/>`,
      `<text x="${MARGIN.left - 6}" y="${at}" text-anchor="end" dominant-baseline="middle" fill="#555">${tick}</text>`,
    ];
  });
  const labels = xs.map(
    (value) =>
      `<text x="${x(Math.log2(value)).toFixed(1)}" y="${HEIGHT - MARGIN.bottom + 16}" text-anchor="middle" fill="#555">${value}</text>`,
  );
  const drawn = lines.flatMap(({ label, color, points, dashed }, i) => {
    const path = points.map(([px, py]) => `${x(Math.log2(px)).toFixed(1)},${y(scale(py)).toFixed(1)}`).join(' ');
    const dash = dashed ? ' stroke-dasharray="4 3"' : '';
    return [
      `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="2"${dash}/>`,
      `<text x="${MARGIN.left + 8}" y="${MARGIN.top + 12 + 14 * i}" fill="${color}">${label}${dashed ? ' (dashed)' : ''}</text>`,
    ];
  });
  return [
    `<text x="${WIDTH / 2}" y="18" text-anchor="middle" font-size="13" fill="#222">${title}</text>`,
    `<text x="${WIDTH / 2}" y="${HEIGHT - 10}" text-anchor="middle" fill="#555">${xLabel}</text>`,
    ...grid,
    ...labels,
    ...drawn,
  ].join('\n');
}

function position([fromLow, fromHigh]: readonly number[], [low, high]: readonly number[]): (value: number) => number {
  const span = fromHigh - fromLow || 1;
  return (value) => low + ((value - fromLow) / span) * (high - low);
}

function powersOfTen(values: readonly number[]): number[] {
  const first = Math.floor(Math.log10(Math.min(...values)));
  const last = Math.ceil(Math.log10(Math.max(...values)));
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
}

/** Round numbers from 0 to above the greatest value. */
function steps(greatest: number): number[] {
  const rough = greatest / 4;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * unit).find((each) => each >= rough) ?? rough;
  return Array.from({ length: Math.ceil(greatest / step) + 1 }, (_, i) => i * step);
}
