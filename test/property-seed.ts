import fc from 'fast-check'
import { seedOfCode } from './sim/seed-of-code.ts'

/* Properties are tried with the same values for the same code, and with others after each change, as simulations are. */
fc.configureGlobal({ seed: Number(process.env.ATOLL_SEED ?? seedOfCode()) })
