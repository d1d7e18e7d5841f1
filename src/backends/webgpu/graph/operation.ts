import { GpuError } from '../../../errors.ts';
import { GpuIndices, GpuTensor, type Storage } from '../device/gpu-tensor.ts';
import { type Command, storagesOf } from './command.ts';
import type { Lowering } from './lowering.ts';

/**
 * A checked call as data: its kind and its operands. Calls are kept as data so that neighbours can be looked at together
 * before they become dispatches. An operation writes the operand `out`, and reads all others.
 */
export type Operation<Operands extends object = object> = Operands & { readonly kind: OperationKind<Operands> };

/** One kind of operations. A file in ops/ has all that the backend knows of it. */
export interface OperationKind<Operands extends object = object> {
  readonly name: string;
  /**
   * Operands that have a row for each row of the result, if the operation treats each row for itself. Others (weights,
   * vectors) are the same for all rows.
   */
  readonly rowOperands: readonly string[];
  of(operands: Operands): Operation<Operands>;
  /** Whether an operation is of this kind. */
  matches(operation: object | undefined): operation is Operation<Operands>;
  /** Adds the commands that compute the operation. */
  lower(lowering: Lowering, operation: Operation<Operands>): void;
  /** Memory that the operation reads. */
  readBy(operation: Operation<Operands>): readonly Read[];
}

/** Memory that is read, and where in it, if that is known. */
export interface Read {
  readonly storage: Storage;
  readonly tensor: GpuTensor | undefined;
}

export function defineOperation<Operands extends object>({
  name,
  rowOperands = [],
  lower,
  readBy = readOperands,
}: {
  readonly name: string;
  readonly rowOperands?: readonly (keyof Operands & string)[];
  readonly lower: (lowering: Lowering, operation: Operation<Operands>) => void;
  /** Default: every operand but `out`. */
  readonly readBy?: (operation: Operation<Operands>) => readonly Read[];
}): OperationKind<Operands> {
  const kind: OperationKind<Operands> = {
    name,
    rowOperands,
    of: (operands) => ({ ...operands, kind }),
    matches: (operation): operation is Operation<Operands> =>
      operation !== undefined && 'kind' in operation && operation.kind === kind,
    lower,
    readBy,
  };
  return kind;
}

function readOperands(operation: object): readonly Read[] {
  const inputs = Object.entries(operation).filter(([name]) => name !== 'out');
  return inputs.flatMap(([, input]): Read[] => {
    if (input instanceof GpuTensor) return input.parts.map(({ tensor }) => ({ storage: tensor.storage, tensor }));
    return input instanceof GpuIndices ? [{ storage: input.storage, tensor: undefined }] : [];
  });
}

/** Adds the commands that compute an operation. */
export function lower(lowering: Lowering, operation: Operation): void {
  operation.kind.lower(lowering, operation);
}

/**
 * Adds the commands of the operations that a fused one stands for, because no kernel computes them together here.
 * @throws GpuError when another operation counts on such a kernel: then its results would be wrong.
 */
export function lowerParts(lowering: Lowering, fused: Operation, parts: readonly Operation[]): void {
  if (lowering.handover.hasRowsFor(fused)) {
    throw new GpuError(`A part of '${fused.kind.name}' was done for a kernel that does not run.`);
  }
  for (const part of parts) lower(lowering, part);
}

/** A command as an operation: copies, clears, host data. */
export const COMMAND = defineOperation<{ readonly command: Command }>({
  name: 'command',
  lower: ({ commands }, { command }) => {
    commands.push(command);
  },
  readBy: ({ command }) => storagesOf(command).map((storage) => ({ storage, tensor: undefined })),
});
