import { readDevVars } from '../platform/settings.ts';
import { topicsCommand } from './command.ts';

process.exitCode = await topicsCommand(process.argv.slice(2), { ...readDevVars(), ...process.env }, console.log);
