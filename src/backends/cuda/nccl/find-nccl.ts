/** The library's name, under which the loader looks for it where it looks for all. */
const NAME = 'libnccl.so.2';
/** Where Python's packages have it, PyTorch's among them: the package nvidia-nccl-cu12 or -cu13. */
const IN_PACKAGES = 'nvidia/nccl/lib/libnccl.so.2';
const PACKAGE_FOLDERS = ['site-packages', 'dist-packages'];

/**
 * Names and paths of NCCL to try, in this order: the loader's own, then the packages of the Pythons that the environment's
 * PATH, VIRTUAL_ENV and CONDA_PREFIX name, and of the user's own. Only files that exist.
 */
export function ncclCandidates(environment: Readonly<Record<string, string | undefined>>): string[] {
  const { existsSync, readdirSync } = process.getBuiltinModule('node:fs');
  const { delimiter, dirname, join } = process.getBuiltinModule('node:path');
  const { VIRTUAL_ENV, CONDA_PREFIX, HOME, PATH = '' } = environment;
  const programs = PATH.split(delimiter).filter((folder) => existsSync(join(folder, 'python3')));
  const homes = [VIRTUAL_ENV, CONDA_PREFIX, ...programs.map(dirname), HOME && join(HOME, '.local')];
  const found = homes.flatMap((home) => {
    const lib = home && join(home, 'lib');
    if (!lib || !existsSync(lib)) return [];
    const pythons = readdirSync(lib).filter((name) => name.startsWith('python3'));
    return pythons.flatMap((python) => PACKAGE_FOLDERS.map((packages) => join(lib, python, packages, IN_PACKAGES)));
  });
  return [NAME, ...new Set(found.filter((path) => existsSync(path)))];
}
