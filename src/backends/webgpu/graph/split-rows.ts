import { GpuTensor, rowsOf } from '../device/gpu-tensor.ts';
import type { Operation } from './operation.ts';

/**
 * Operands of operations that treat every row for itself: those of them that have a row for each row of the result. Others
 * (weights, vectors) are the same for all.
 */
const ROW_OPERANDS: Readonly<Partial<Record<Operation['type'], readonly string[]>>> = {
  linear: ['x', 'out'],
  add: ['x', 'y', 'out'],
  siluGate: ['x', 'y', 'out'],
  mulColumns: ['x', 'out'],
  mulScalar: ['x', 'out'],
  rmsNorm: ['x', 'out'],
  groupSquareSums: ['v', 'out'],
  scaleByGroupNorm: ['v', 'squareSums', 'out'],
  scaleRows: ['x', 'squareSums', 'out'],
  copyRows: ['x', 'out'],
  rotaryEmbedding: ['x', 'angles', 'out'],
  activate: ['gate', 'x', 'out'],
  topKRouting: ['logits', 'out'],
};

/**
 * An operation on tensors that lie in several parts, because one binding would be too small, as operations on parts. Others
 * stay as they are: if they can't do with parts they are refused when they are lowered.
 */
export function splitRows(operation: Operation): readonly Operation[] {
  const operands = Object.entries(operation).filter((entry): entry is [string, GpuTensor] => {
    return entry[1] instanceof GpuTensor && (ROW_OPERANDS[operation.type] ?? []).includes(entry[0]);
  });
  if (operands.every(([, tensor]) => tensor.parts.length === 1)) return [operation];
  const begins = new Set(operands.flatMap(([, { parts }]) => parts.map(({ firstRow }) => firstRow)));
  const sorted = [...begins].sort((a, b) => a - b);
  const [rows] = operands[0][1].shape;
  return sorted.map((begin, i) => {
    const end = sorted[i + 1] ?? rows;
    return { ...operation, ...Object.fromEntries(operands.map(([name, x]) => [name, rowsOf(x, begin, end)])) };
  });
}
