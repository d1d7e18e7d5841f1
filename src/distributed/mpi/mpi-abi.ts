/** A handle of MPI, by value. */
export type Handle = bigint;

/** Constants that implementations give other values, as they are passed to functions. */
export interface MpiAbi {
  readonly world: Handle;
  readonly byte: Handle;
  readonly errorsReturn: Handle;
  /** MPI_THREAD_MULTIPLE: any thread may call, at any time. */
  readonly threadMultiple: number;
}

/** Address of a symbol of the library. */
export type AddressOf = (symbol: string) => Handle;

/** The binary interfaces that MPI libraries have. */
export const ABIS = {
  /** Open MPI: handles are addresses of objects in the library. */
  openmpi: (addressOf: AddressOf): MpiAbi => ({
    world: addressOf('ompi_mpi_comm_world'),
    byte: addressOf('ompi_mpi_byte'),
    errorsReturn: addressOf('ompi_mpi_errors_return'),
    threadMultiple: 3,
  }),
  /** MPICH and what keeps its interface: Intel MPI, Cray MPICH, MVAPICH. Handles are ints. */
  mpich: (): MpiAbi => ({ world: 0x44000000n, byte: 0x4c00010dn, errorsReturn: 0x54000001n, threadMultiple: 3 }),
  /** The interface that MPI 5 standardised (its chapter 20): handles are small numbers in pointers. */
  standard: (): MpiAbi => ({ world: 0x101n, byte: 0x247n, errorsReturn: 0x143n, threadMultiple: 4096 }),
} as const;

export type AbiName = keyof typeof ABIS;

/**
 * The interface of a library; undefined where it is none of these.
 * @param path of the library. One of the standard interface is told by its name only.
 * @param version what MPI_Get_library_version says.
 */
export function abiOf(path: string, version: string): AbiName | undefined {
  if (/libmpi_abi\b/.test(path)) return 'standard';
  if (/\bOpen MPI\b/.test(version)) return 'openmpi';
  return /MPICH|Intel\(R\) MPI|MVAPICH/i.test(version) ? 'mpich' : undefined;
}
