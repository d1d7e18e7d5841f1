import { linkPair } from '../../distributed/link.ts';
import type { Stage } from '../../layers/parameters/layer-context.ts';
import type { HostedPlace, Job } from '../ranks/job.ts';
import type { Executor } from '../run/executor.ts';
import type { PipelinePlan } from '../weights/plan-stages.ts';
import { LinkedStage } from './linked-stage.ts';
import { PipelineExecutor } from './pipeline-executor.ts';

/** A stage to load: its layers, and the process that has them, where that is another. */
export interface StageToLoad {
  readonly stage: Stage;
  readonly hosted?: HostedPlace | undefined;
}

/** Processes that have a stage each. */
export interface StagesInJob {
  readonly job: Job;
  /** Threads that share each stage. */
  readonly numRanks: number;
}

/**
 * Loads all stages of a model: in this process, one after another, so that a file is read once, forwards; or each in a process
 * of a job, all at once.
 */
export function loadPipeline(
  plan: PipelinePlan,
  load: (stage: StageToLoad) => Promise<Executor>,
  where?: StagesInJob,
): Promise<PipelineExecutor> {
  return where ? loadInJob(plan, load, where) : loadHere(plan, load);
}

async function loadHere(
  { stages, activationSize }: PipelinePlan,
  load: (stage: StageToLoad) => Promise<Executor>,
): Promise<PipelineExecutor> {
  const links = stages.slice(1).map(() => linkPair());
  const linked: LinkedStage[] = [];
  try {
    for (const [i, stage] of stages.entries()) {
      const ends = { before: links[i - 1]?.[1], after: links[i]?.[0] };
      linked.push(new LinkedStage(await load({ stage }), { activationSize, ...ends }));
    }
  } catch (error) {
    await Promise.all(linked.map((stage) => stage.dispose()));
    throw error;
  }
  return new PipelineExecutor(linked);
}

/**
 * Process 0 has the last stage, because logits, which are larger than activations, are wanted there. Process 1 has the first
 * stage, process 2 the second, and so on.
 */
async function loadInJob(
  { stages, activationSize }: PipelinePlan,
  load: (stage: StageToLoad) => Promise<Executor>,
  { job, numRanks }: StagesInJob,
): Promise<PipelineExecutor> {
  const channel = job.newChannel();
  const last = stages.length - 1;
  const loads = stages.map(async (stage, i) => {
    if (i === last) {
      const before = job.link(last, channel);
      return new LinkedStage(await load({ stage }), { activationSize, before });
    }
    const neighbours = { before: i === 0 ? undefined : i, after: i + 1 === last ? 0 : i + 2 };
    const place = { numRanks, activationSize, channel, ...neighbours };
    return load({ stage, hosted: { follower: job.followers[i], stage: place } });
  });
  try {
    return new PipelineExecutor(await Promise.all(loads));
  } catch (error) {
    const loaded = await Promise.allSettled(loads);
    await Promise.all(loaded.map((each) => (each.status === 'fulfilled' ? each.value.dispose() : undefined)));
    throw error;
  }
}
