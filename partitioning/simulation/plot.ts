import type { PolicyReport, StepReport } from './simulate.ts'

/** Chart of simulated policies as SVG text. */

const panelWidth = 420
const panelHeight = 220
const margin = { left: 64, right: 16, top: 36, bottom: 40 }
const columns = 2
/** Dark enough on white, and told apart by people who see few colours. */
const colours = ['#1b6ca8', '#d1603d', '#4c8c4a', '#7d4f9e']
/** Points drawn per line: more cannot be told apart. */
const pointsMax = 500

interface Line { name: string, points: Array<[number, number]> }
interface Panel { title: string, x: string, y: string, lines: Line[], logarithmic?: boolean }

export function plotSvg (reports: readonly PolicyReport[]): string {
  const panels = panelsOf(reports)
  const rows = Math.ceil(panels.length / columns)
  const [width, height] = [columns * (panelWidth + margin.left + margin.right), rows * (panelHeight + margin.top + margin.bottom) + 28]
  const drawn = panels.map((panel, at) => {
    const x = (at % columns) * (panelWidth + margin.left + margin.right) + margin.left
    const y = Math.floor(at / columns) * (panelHeight + margin.top + margin.bottom) + margin.top + 28
    return `<g transform="translate(${x} ${y})">${drawPanel(panel)}</g>`
  })
  const legend = reports.map(({ placement }, at) =>
    `<rect x="${margin.left + at * 110}" y="10" width="14" height="14" fill="${colourOf(at)}"/><text x="${margin.left + at * 110 + 20}" y="22">${escaped(placement)}</text>`)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`, ...legend, ...drawn, '</svg>', ''
  ].join('\n')
}

function panelsOf (reports: readonly PolicyReport[]): Panel[] {
  const last = (report: PolicyReport): StepReport => report.steps.at(-1)!
  const lines = (of: (step: StepReport, report: PolicyReport) => Array<[number, number]>): Line[] => reports.map((report) => ({ name: report.placement, points: of(last(report), report) }))
  const sorted = (values: number[]): Array<[number, number]> => values.sort((one, other) => other - one).map((value, at) => [at + 1, value])
  const panels: Panel[] = [
    { title: 'How busy the disks are, busiest first', x: 'nodes', y: 'busy', lines: lines(({ perNode }) => sorted(perNode.map(({ busy }) => busy))) },
    { title: 'Replicas on each node, most first', x: 'nodes', y: 'replicas', lines: lines(({ perNode }) => sorted(perNode.map(({ replicas }) => replicas))) },
    {
      title: 'That a partition is lost, by nodes lost at once', x: 'nodes lost at once', y: 'probability', logarithmic: true,
      lines: lines(({ lostAtOnce }) => lostAtOnce.map(({ nodes, probability }) => [nodes, probability]))
    }
  ]
  if (reports.some(({ steps }) => steps.length > 1)) {
    panels.push({ title: 'Moved in each step, part of all that is stored', x: 'step', y: 'moved', lines: lines((_, { steps }) => steps.map(({ movement }, at) => [at, movement?.part ?? 0])) })
  }
  return panels
}

function colourOf (at: number): string { return colours[at % colours.length]! }

function drawPanel (panel: Panel): string {
  const points = panel.lines.flatMap((line) => line.points)
  const xs = points.map(([x]) => x)
  const [left, right] = [extreme(xs, Math.min, 0), Math.max(extreme(xs, Math.max, 1), extreme(xs, Math.min, 0) + 1)]
  const ys = points.map(([, y]) => y).filter((y) => panel.logarithmic !== true || y > 0)
  const top = Math.max(extreme(ys, Math.max, 1), panel.logarithmic === true ? 1 : 1e-9)
  const bottom = panel.logarithmic === true ? 10 ** Math.floor(Math.log10(extreme(ys, Math.min, 0.1))) : 0
  const placeX = (x: number): number => panelWidth * (x - left) / (right - left)
  const placeY = (y: number): number => panel.logarithmic === true
    ? panelHeight * (1 - Math.log10(Math.max(y, bottom) / bottom) / Math.max(1e-9, Math.log10(top / bottom)))
    : panelHeight * (1 - y / top)
  const ticks = panel.logarithmic === true ? powersBetween(bottom, top) : [0, 0.25, 0.5, 0.75, 1].map((part) => part * top)
  const grid = ticks.map((tick) => `<line x1="0" x2="${panelWidth}" y1="${fixed(placeY(tick))}" y2="${fixed(placeY(tick))}" stroke="#dddddd"/>` +
    `<text x="-6" y="${fixed(placeY(tick) + 4)}" text-anchor="end">${label(tick)}</text>`)
  const lines = panel.lines.map(({ points: own }, at) => {
    const shown = own.filter(([, y], index) => (panel.logarithmic !== true || y > 0) && index % Math.ceil(own.length / pointsMax) === 0)
    return `<polyline fill="none" stroke="${colourOf(at)}" stroke-width="2" points="${shown.map(([x, y]) => `${fixed(placeX(x))},${fixed(placeY(y))}`).join(' ')}"/>` +
      (shown.length > 20 ? '' : shown.map(([x, y]) => `<circle cx="${fixed(placeX(x))}" cy="${fixed(placeY(y))}" r="3" fill="${colourOf(at)}"/>`).join(''))
  })
  return [
    `<text x="0" y="-12" font-weight="bold">${escaped(panel.title)}</text>`, ...grid,
    `<rect width="${panelWidth}" height="${panelHeight}" fill="none" stroke="#888888"/>`,
    `<text x="0" y="${panelHeight + 16}">${label(left)}</text><text x="${panelWidth}" y="${panelHeight + 16}" text-anchor="end">${label(right)}</text>`,
    `<text x="${panelWidth / 2}" y="${panelHeight + 30}" text-anchor="middle">${escaped(panel.x)}</text>`,
    `<text transform="translate(-48 ${panelHeight / 2}) rotate(-90)" text-anchor="middle">${escaped(panel.y)}</text>`, ...lines
  ].join('')
}

function extreme (values: readonly number[], choose: (one: number, other: number) => number, none: number): number {
  return values.length === 0 ? none : values.reduce((best, value) => choose(best, value))
}

function powersBetween (bottom: number, top: number): number[] {
  const [first, last] = [Math.round(Math.log10(bottom)), Math.ceil(Math.log10(top) - 1e-9)]
  const stride = Math.max(1, Math.ceil((last - first) / 8))
  return Array.from({ length: Math.floor((last - first) / stride) + 1 }, (_, at) => 10 ** (first + at * stride)).filter((power) => power <= top * 1.0001)
}

function fixed (value: number): string { return value.toFixed(1) }

function label (value: number): string {
  if (value === 0) return '0'
  return Math.abs(value) >= 1e5 || Math.abs(value) < 0.01 ? value.toExponential(0) : String(Number(value.toPrecision(3)))
}

function escaped (text: string): string { return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;') }
