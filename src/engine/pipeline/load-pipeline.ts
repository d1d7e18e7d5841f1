import { linkPair } from '../../distributed/link.ts';
import type { Stage } from '../../layers/parameters/layer-context.ts';
import type { Executor } from '../run/executor.ts';
import type { PipelinePlan } from '../weights/plan-stages.ts';
import { LinkedStage } from './linked-stage.ts';
import { PipelineExecutor } from './pipeline-executor.ts';

/** Loads all stages of a model in this process, one after another: a file is read once, forwards. */
export async function loadPipeline(
  { stages, activationSize }: PipelinePlan,
  load: (stage: Stage) => Promise<Executor>,
): Promise<PipelineExecutor> {
  const links = stages.slice(1).map(() => linkPair());
  const linked: LinkedStage[] = [];
  try {
    for (const [i, stage] of stages.entries()) {
      const ends = { before: links[i - 1]?.[1], after: links[i]?.[0] };
      linked.push(new LinkedStage(await load(stage), { activationSize, ...ends }));
    }
  } catch (error) {
    await Promise.all(linked.map((stage) => stage.dispose()));
    throw error;
  }
  return new PipelineExecutor(linked);
}
