/** Rows of float32 on the device: the first byte, and floats from one row to the next. A tensor is such rows. */
export interface DeviceRows {
  readonly address: number;
  readonly stride: number;
}

/** A member of a kernel's struct of parameters. */
interface ParameterMember {
  readonly name: string;
  readonly kind: 'rows' | 'pointer' | 'int64' | 'int32' | 'float32';
  readonly offset: number;
}

/** A kernel's struct of parameters, as the compiler lays it out. */
export interface ParameterLayout {
  readonly members: readonly ParameterMember[];
  readonly bytes: number;
}

/** Writes a kernel's parameters as its struct. What is undefined becomes a null pointer. */
export function writeParameters(
  view: DataView,
  { members }: ParameterLayout,
  values: Readonly<Record<string, number | DeviceRows | undefined>>,
): void {
  for (const { name, kind, offset } of members) {
    const value = values[name];
    if (kind === 'rows') {
      const rows = typeof value === 'object' ? value : undefined;
      writeInt64(view, offset, rows?.address ?? 0);
      writeInt64(view, offset + 8, rows?.stride ?? 0);
      continue;
    }
    const number = typeof value === 'number' ? value : 0;
    if (kind === 'int32') view.setInt32(offset, number, true);
    else if (kind === 'float32') view.setFloat32(offset, number, true);
    else writeInt64(view, offset, number);
  }
}

/** A whole number from 0 to 2^53. */
function writeInt64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value % 2 ** 32, true);
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}
