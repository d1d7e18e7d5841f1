// The script of a worker: it is started, or bundled as an entry point, and exports nothing.
export {};
