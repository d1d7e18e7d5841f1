import type { GpuDevice } from '../device/gpu-device.ts';
import { launchParametersFor } from '../launch/choose-launch.ts';
import { TILE_SIDE } from './weight-tiles.ts';

/**
 * Numbers of rows, ascending, such that a step of any other number up to `most` runs the kernels of the next listed
 * one. Kernels for few rows are made for their very number; software devices, for which one takes up to seconds to
 * compile, get those of the greatest numbers only.
 */
export function decodesToPrepare(gpu: Pick<GpuDevice, 'info' | 'hasMatrices'>, most: number): readonly number[] {
  const launch = launchParametersFor(gpu.info);
  const { vector, stateUpdate, shortStateUpdate } = launch;
  const mostOf = (entries: readonly { readonly maxRows: number }[]) => entries.map(({ maxRows }) => maxRows);
  const counts = new Set([...mostOf(vector), ...mostOf(stateUpdate), ...mostOf(shortStateUpdate), most]);
  if (!gpu.info.isSoftware) for (const count of upTo(Math.max(...mostOf(vector)), 1, most)) counts.add(count);
  if (gpu.hasMatrices) {
    counts.add(launch.convolvedApartFrom - 1);
    counts.add(launch.convolvedTogetherFrom - 1);
    // linear-matrix-few is made for so many tiles of rows.
    for (const { maxRows } of [...launch.matrixFew, ...launch.slicedFew]) {
      for (const count of upTo(maxRows, TILE_SIDE, most)) counts.add(count);
    }
    for (const { maxRows, block } of [...launch.matrixNormalising, ...launch.matrix, ...launch.slicedMatrix]) {
      for (const count of [maxRows, ...upTo(maxRows, block[0], most)]) counts.add(count);
    }
  }
  return [...counts].filter((count) => count <= most).sort((a, b) => a - b);
}

/** Multiples of `step` up to both. */
function upTo(last: number, step: number, most: number): number[] {
  return Array.from({ length: Math.floor(Math.min(last, most) / step) }, (_, i) => (i + 1) * step);
}
