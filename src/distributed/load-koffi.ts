import { MissingPackageError } from '../errors.ts';

export type Koffi = typeof import('koffi');

/**
 * The package that calls C libraries, an optional peer dependency. Browsers never load this file.
 * @param purpose what it is needed for, as 'MPI'.
 * @throws MissingPackageError
 */
export async function loadKoffi(purpose: string): Promise<Koffi> {
  try {
    return await import('koffi');
  } catch (cause) {
    throw new MissingPackageError(
      `${purpose} needs the package 'koffi', which can't be loaded: ${cause instanceof Error ? cause.message : cause}.`,
      "Install it ('npm install koffi').",
      { cause },
    );
  }
}
