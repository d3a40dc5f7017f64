import { Hono } from 'hono';
import { routes } from './routes/all.ts';
import { type App, mount } from './routes/mount.ts';

/** The HTTP side: every operation that is declared, at its path. */
export const app: App = new Hono();

mount(app, routes);
