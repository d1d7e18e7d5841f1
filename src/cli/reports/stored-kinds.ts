import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import type { ParameterTable } from '../../layers/parameters/parameter.ts';
import type { ModelDefinition } from '../../models/causal-lm.ts';
import { elementCount } from '../../tensor/tensor.ts';
import { kindOf, PARAMETER_KINDS, type ParameterKind } from './parameter-kinds.ts';

/** Parameters of a kind, as the files hold them. */
export interface StoredKind {
  readonly bytes: number;
  /** Values per dtype of the files. */
  readonly dtypes: Readonly<Record<string, number>>;
}

/** The kinds of parameters that the files hold some of. Tensors that no part of the model takes are left out. */
export function storedKinds(
  table: ParameterTable,
  definition: ModelDefinition,
  checkpoint: Checkpoint,
): Partial<Record<ParameterKind, StoredKind>> {
  const parameters = new Set(table.names());
  const kinds: Partial<Record<ParameterKind, { bytes: number; dtypes: Record<string, number> }>> = {};
  for (const name of checkpoint.names()) {
    const parameter = definition.parameterName(name);
    if (parameter === undefined || !parameters.has(parameter)) continue;
    const { dtype, shape, byteLength } = checkpoint.tensor(name);
    const kind = kindOf(table, parameter);
    const { bytes, dtypes } = kinds[kind] ?? { bytes: 0, dtypes: {} };
    kinds[kind] = {
      bytes: bytes + byteLength,
      dtypes: { ...dtypes, [dtype]: (dtypes[dtype] ?? 0) + elementCount(shape) },
    };
  }
  return Object.fromEntries(PARAMETER_KINDS.flatMap((kind) => (kinds[kind] ? [[kind, kinds[kind]]] : [])));
}
