"""From finished runs to a report: collect, judge, render. One table model feeds every format."""
