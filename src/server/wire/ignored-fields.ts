import { z } from 'zod';

/** Fields that clients add for themselves or for other services, and that change no answer here. */
export function ignored<Name extends string>(...names: readonly Name[]) {
  const field = z.unknown().optional().describe('Accepted and ignored.');
  return Object.fromEntries(names.map((name) => [name, field])) as Record<Name, typeof field>;
}
