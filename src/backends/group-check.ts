import { ArgumentError } from '../errors.ts';
import type { GroupLayout } from './backend.ts';

/** @throws ArgumentError unless a rank's columns lie within the groups of the whole row. */
export function checkGroups(C: number, groups: number, { firstColumn, groupSize }: GroupLayout): void {
  if (groupSize >= 1 && firstColumn >= 0 && firstColumn + C <= groups * groupSize) return;
  throw new ArgumentError(
    `Columns ${firstColumn} to ${firstColumn + C} do not fit ${groups} groups of ${groupSize}.`,
    'The groups cover the whole row.',
  );
}
