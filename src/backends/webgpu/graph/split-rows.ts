import { GpuTensor, rowsOf } from '../device/gpu-tensor.ts';
import type { Operation } from './operation.ts';

/**
 * An operation on tensors that lie in several parts, because one binding would be too small, as operations on the
 * parts. An operation that does not treat each row for itself stays as it is, and is refused when it is lowered if it
 * can't do with parts.
 */
export function splitRows(operation: Operation): readonly Operation[] {
  const { rowOperands } = operation.kind;
  const all: [string, unknown][] = Object.entries(operation);
  const operands = all.filter((entry): entry is [string, GpuTensor] => {
    return entry[1] instanceof GpuTensor && rowOperands.includes(entry[0]);
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
