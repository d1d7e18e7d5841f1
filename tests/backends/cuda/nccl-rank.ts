import { CudaDevice } from '../../../src/backends/cuda/device/cuda-device.ts';
import { NcclGroup } from '../../../src/backends/cuda/nccl/nccl-group.ts';
import type { NcclPlace } from '../../../src/backends/cuda/nccl/nccl-place.ts';
import { serializeError } from '../../../src/distributed/serialized-error.ts';
import { allGather, allReduce, broadcast, manyCollectives } from '../../distributed/collectives-on-ranks.ts';

const COLLECTIVES = { allReduce, allGather, broadcast, manyCollectives };

/** What a process of a rank is to run. */
export interface NcclTask {
  readonly place: NcclPlace;
  readonly name: keyof typeof COLLECTIVES;
  readonly input: unknown;
}

/** The process ends once it has left. */
function reply(message: object): void {
  process.send?.(message, () => process.disconnect());
}

process.on('message', async ({ place, name, input }: NcclTask) => {
  try {
    const group = await NcclGroup.open(place);
    await group.join(await CudaDevice.open({ ordinal: place.gpu }));
    const run = COLLECTIVES[name] as (group: NcclGroup, input: unknown) => unknown;
    const result = await run(group, input);
    group.dispose();
    reply({ result });
  } catch (error) {
    reply({ error: serializeError(error) });
  }
});
