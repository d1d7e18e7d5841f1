import { expect, test } from 'vitest';
import { loadPipeline } from '../../../src/engine/pipeline/load-pipeline.ts';
import type { Batch, Executor, StepOutput } from '../../../src/engine/run/executor.ts';
import { OutOfMemoryError } from '../../../src/errors.ts';

const PLAN = {
  stages: [
    { begin: 0, end: 1 },
    { begin: 1, end: 2 },
  ],
  activationSize: 2,
};

const step = (tokenIds: number[], ...commands: Batch['commands'] & object): Batch => ({
  commands,
  sequences: [{ slot: 0, numComputedTokens: 0, tokenIds }],
  logits: 'last',
});

/** A stage that adds 1 to what it gets, unless it lacks memory: then until it is reset, as a real one does. */
class Stage implements Executor {
  readonly stateFootprint = { bytes: 4, length: 1 };
  readonly received: (Float32Array | undefined)[] = [];
  hasMemory = true;
  #lost: OutOfMemoryError | undefined;

  async execute({ commands, activations, sequences }: Batch): Promise<StepOutput> {
    await new Promise((resolve) => setImmediate(resolve));
    this.received.push(activations);
    if (commands?.[0]?.type === 'reset') this.#lost = undefined;
    if (!this.hasMemory) this.#lost = new OutOfMemoryError('No memory.');
    if (this.#lost) throw this.#lost;
    const given = activations ?? new Float32Array(2 * sequences[0].tokenIds.length);
    const added = given.map((value) => value + 1);
    return activations ? { logits: added } : { logits: new Float32Array(), activations: added };
  }

  async exportState(): Promise<Float32Array<ArrayBuffer>> {
    return Float32Array.of(0);
  }

  async importState(): Promise<void> {}

  async dispose(): Promise<void> {}
}

test.each([0, 1])('memory that stage %i lacks costs all steps under way, and no stage waits', async (poor) => {
  const stages = [new Stage(), new Stage()];
  const pipeline = await loadPipeline(PLAN, async ({ stage }) => stages[stage.begin]);
  expect((await pipeline.execute(step([1]))).logits).toEqual(Float32Array.of(2, 2));
  stages[poor].hasMemory = false;
  const ends: number[] = [];
  const lost = [1, 2].map((i) =>
    pipeline.execute(step([1, 1])).catch((error) => {
      ends.push(i);
      return error;
    }),
  );
  expect(await lost[0]).toBeInstanceOf(OutOfMemoryError);
  // One reset serves for all: none ends later.
  expect(ends.toSorted()).toEqual([1, 2]);
  expect(await lost[1]).toBeInstanceOf(OutOfMemoryError);
  expect(stages[1].received).toHaveLength(3);
  stages[poor].hasMemory = true;
  expect(await pipeline.execute(step([1])).catch((error) => error)).toBeInstanceOf(OutOfMemoryError);
  expect((await pipeline.execute(step([1], { type: 'reset' }))).logits).toEqual(Float32Array.of(2, 2));
});
