//! Which traces are kept; decided where a trace begins here.

use super::TraceContext;
use crate::config::{Sampler as Kind, Tracing};

/// Decides by the setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampler {
    kind: Kind,
    ratio: f64,
}

impl Sampler {
    pub fn new(settings: &Tracing) -> Self {
        Self { kind: settings.sampler, ratio: settings.sampler_ratio }
    }

    /// Whether a span of `trace` is kept, below a span of another process or where it begins the trace.
    pub fn keeps(self, trace: u128, parent: Option<&TraceContext>) -> bool {
        let parent = parent.map(|parent| parent.is_sampled);
        match self.kind {
            Kind::AlwaysOn => true,
            Kind::AlwaysOff => false,
            Kind::Ratio => self.draws(trace),
            Kind::ParentOrOn => parent.unwrap_or(true),
            Kind::ParentOrOff => parent.unwrap_or(false),
            Kind::ParentOrRatio => parent.unwrap_or_else(|| self.draws(trace)),
        }
    }

    /// By the trace's own random bits, so that all who use the same share keep the same traces.
    fn draws(self, trace: u128) -> bool {
        let bits = (trace as u64) >> 1;
        self.ratio >= 1.0 || bits < (self.ratio * (1_u64 << 63) as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(kind: Kind, ratio: f64) -> Sampler {
        Sampler { kind, ratio }
    }

    fn parent(is_sampled: bool) -> TraceContext {
        TraceContext::root(|_| is_sampled)
    }

    #[test]
    fn a_caller_decides_where_the_setting_says_so() {
        for (kind, alone, below_kept, below_left_out) in [
            (Kind::AlwaysOn, true, true, true),
            (Kind::AlwaysOff, false, false, false),
            (Kind::ParentOrOn, true, true, false),
            (Kind::ParentOrOff, false, true, false),
        ] {
            let sampler = sampler(kind, 0.0);
            assert_eq!(sampler.keeps(1, None), alone, "{kind:?}");
            assert_eq!(sampler.keeps(1, Some(&parent(true))), below_kept, "{kind:?}");
            assert_eq!(sampler.keeps(1, Some(&parent(false))), below_left_out, "{kind:?}");
        }
    }

    #[test]
    fn a_share_of_traces_is_kept_and_always_the_same_ones() {
        let quarter = sampler(Kind::Ratio, 0.25);
        let traces: Vec<u128> = (0..4000).map(|_| rand::random()).collect();
        let kept: Vec<bool> = traces.iter().map(|trace| quarter.keeps(*trace, None)).collect();
        let count = kept.iter().filter(|kept| **kept).count();
        assert!((800..1200).contains(&count), "{count}");
        assert!(traces.iter().zip(kept).all(|(trace, kept)| quarter.keeps(*trace, None) == kept));
        assert!(traces.iter().all(|trace| sampler(Kind::Ratio, 1.0).keeps(*trace, None)));
        assert!(!traces.iter().any(|trace| sampler(Kind::ParentOrRatio, 0.0).keeps(*trace, None)));
    }
}
