import { Hono } from 'hono';
import { type App, mount } from './http/mount.ts';
import { routes } from './routes/all.ts';

/** The HTTP side: every operation that is declared, at its path. */
export const app: App = new Hono();

mount(app, routes);
