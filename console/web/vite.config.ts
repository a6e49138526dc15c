import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2022',
    // The server's policy allows no data: scripts or styles; keep all in files.
    assetsInlineLimit: 0,
    assetsDir: 'static', // /assets is a page
    modulePreload: { polyfill: false },
    emptyOutDir: false, // dist/.gitkeep stays; scripts/clean.mjs removes the rest
  },
  test: { include: ['src/**/*.test.ts'] },
  server: { proxy: { '/api': 'http://127.0.0.1:8080', '/openapi.json': 'http://127.0.0.1:8080' } },
});
