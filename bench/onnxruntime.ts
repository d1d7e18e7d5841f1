import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './child-process.ts';
import type { Machine } from './machine.ts';
import type { Peer } from './peer.ts';
import type { Rates } from './workload.ts';

const PACKAGE = join(import.meta.dirname, 'node_modules', 'onnxruntime-node', 'package.json');
const PROGRAM = join(import.meta.dirname, 'onnxruntime-run.ts');

/** onnxruntime-node over a graph of the whole model, which each run makes in its own memory. */
export async function onnxruntime(machine: Machine): Promise<Peer> {
  if (machine.device !== 'cpu') {
    throw new Error(`--device is '${machine.device}', but onnxruntime-node is measured on processors only.`);
  }
  if (machine.kind !== 'native') {
    throw new Error(
      `--cpu is '${machine.kind}', but onnxruntime-node uses whatever the processor has. Leave --cpu out.`,
    );
  }
  if (!existsSync(PACKAGE)) throw new Error(`There is no '${PACKAGE}'. Run 'npm install --ignore-scripts' in bench/.`);
  const { version } = JSON.parse(await readFile(PACKAGE, 'utf8'));
  return {
    name: 'onnxruntime',
    version,
    formats: { float32: 'MatMul', int8: 'DynamicQuantizeMatMul' },
    defaultDTypes: () => ['float32', 'int8'],
    prepare: async () => undefined,
    run: async (dtype, workload): Promise<Rates> => {
      const rates = await run(process.execPath, [PROGRAM, JSON.stringify({ ...workload, dtype })]);
      return new Map(Object.entries<number>(JSON.parse(rates)));
    },
  };
}
