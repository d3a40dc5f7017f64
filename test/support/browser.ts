import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import chromium, { inflate } from '@sparticuz/chromium';
import { type Browser, chromium as playwright } from 'playwright-core';

export type OpenBrowser = { browser: Browser; close: () => Promise<void> };

/**
 * Starts the Chromium from `npm install` (Linux on x64), or the one at CHROMIUM_PATH. The package contains the
 * libraries and fonts that a minimal Debian lacks.
 */
export async function openBrowser(): Promise<OpenBrowser> {
  const configuredPath = process.env.CHROMIUM_PATH;
  const dir = await mkdtemp(join(tmpdir(), 'fusion-chromium-'));
  const remove = (): Promise<void> => rm(dir, { recursive: true, force: true });
  try {
    const env = { ...process.env, HOME: dir } as Record<string, string>;
    if (configuredPath === undefined) {
      const before = process.env.TMPDIR;
      process.env.TMPDIR = dir; // where the package unpacks to; another test run may unpack at the same time
      try {
        const bin = join(dirname(fileURLToPath(import.meta.resolve('@sparticuz/chromium'))), '..', 'bin');
        await chromium.executablePath();
        await inflate(join(bin, 'al2023.tar.br'));
      } finally {
        if (before === undefined) delete process.env.TMPDIR;
        else process.env.TMPDIR = before;
      }
      env.LD_LIBRARY_PATH = join(dir, 'al2023', 'lib');
      // The package's own configuration looks for its fonts in /tmp only. Without any font Chromium crashes.
      env.FONTCONFIG_FILE = join(dir, 'fonts.conf');
      const folders = [join(dir, 'fonts'), '/usr/share/fonts'].map((folder) => `<dir>${folder}</dir>`).join('');
      await writeFile(
        env.FONTCONFIG_FILE,
        `<fontconfig>${folders}<cachedir>${join(dir, 'cache')}</cachedir></fontconfig>`,
      );
    }
    const browser = await playwright.launch({ executablePath: configuredPath ?? join(dir, 'chromium'), env });
    return { browser, close: () => browser.close().finally(remove) };
  } catch (error) {
    await remove();
    throw error;
  }
}
