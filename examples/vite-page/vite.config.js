// Shared memory, which several threads need, is given only to pages with these two headers.
const headers = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };

export default {
  // The library's workers are modules, which find their own files.
  worker: { format: 'es' },
  optimizeDeps: { exclude: ['mamba2'] },
  build: { target: 'es2022' },
  server: { headers },
  preview: { headers },
};
