import { type GpuLayersReport, type GpuReport, micros } from '../../bench/gpu-bench.ts';
import { formatBytes, formatTable } from '../terminal/table.ts';

/** The report for people. */
export function describeGpuReport({ layers, models, copyBytesPerSecond }: GpuReport): string {
  const rows = models.flatMap(({ shape, run }) =>
    run.measurements.map(({ work, batchSize, tokens, tokensPerSecond: { median: rate, min, max } }) => {
      const isPrefill = work === 'prefill';
      const bytes = (rate / batchSize) * (run.bytes.weightsRead + 2 * batchSize * run.bytes.state);
      const spread = `${min.toFixed(0)}-${max.toFixed(0)}`;
      const share = `${((100 * bytes) / copyBytesPerSecond).toFixed(0)} %`;
      const traffic = isPrefill ? ['', ''] : [`${formatBytes(bytes)}/s`, share];
      return [shape, `${work} ${isPrefill ? tokens : batchSize}`, rate.toFixed(0), spread, ...traffic];
    }),
  );
  return [
    describeGpuLayers(layers),
    '',
    `Whole models, tokens per second; share of the ${formatBytes(copyBytesPerSecond)}/s that copying a buffer reaches:`,
    formatTable([['shape', 'work', 'tok/s', 'least-greatest', 'bytes', 'share'], ...rows]),
  ].join('\n');
}

/** The report as two tables: layers, and where their time goes. */
function describeGpuLayers({ device, dtype, stateDType, shapes }: GpuLayersReport): string {
  const layers = shapes.flatMap(({ shape, times }) =>
    times.map(({ work, rows, gpu, wall }) => [
      shape,
      work === 'decode' ? `decode ${rows}` : `prefill ${rows}`,
      micros(gpu.median),
      `${micros(gpu.min)}-${micros(gpu.max)}`,
      micros(wall.median),
      `${micros(wall.min)}-${micros(wall.max)}`,
    ]),
  );
  const dispatches = shapes.flatMap(({ shape, times }) =>
    times.map(({ work, rows, dispatches: list }) => [
      shape,
      `${work} ${rows}`,
      list.map(({ name, microseconds }) => `${name} ${micros(microseconds)}`).join(', '),
    ]),
  );
  return [
    `Mixer layers (norm, mixer, residual) on ${device}, ${dtype} weights, ${stateDType} states, microseconds per layer:`,
    formatTable([['shape', 'work', 'gpu', 'least-greatest', 'wall', 'least-greatest'], ...layers]),
    '',
    'Dispatches of a layer, each timed alone:',
    formatTable([['shape', 'work', 'dispatches'], ...dispatches]),
  ].join('\n');
}
