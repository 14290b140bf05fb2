//! Typed metrics: a call site cannot misspell a name, forget a label or invent a label value.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::shape::Shape;

/// One value of a label.
pub trait Label {
    /// Every value there is; `None` if they are names known only when the process starts.
    const TEXTS: Option<&'static [&'static str]>;

    /// The value as it is exported.
    fn as_label(&self) -> &str;
}

/// A label value that is known when the process starts: a persona, an upstream, a model, a policy.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Arc<str>);

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Label for Name {
    const TEXTS: Option<&'static [&'static str]> = None;

    fn as_label(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The labels of one metric, in order.
pub trait Labels {
    /// Calls `with` with their values.
    fn values<R>(&self, with: impl FnOnce(&[&str]) -> R) -> R;
}

macro_rules! labels {
    ($($name:ident),*) => {
        impl<$($name: Label),*> Labels for ($($name,)*) {
            #[expect(non_snake_case, reason = "a tuple's places are named like its types")]
            fn values<R>(&self, with: impl FnOnce(&[&str]) -> R) -> R {
                let ($($name,)*) = self;
                with(&[$($name.as_label()),*])
            }
        }
    };
}
labels!(A);
labels!(A, B);
labels!(A, B, C);
labels!(A, B, C, D);

impl Labels for () {
    fn values<R>(&self, with: impl FnOnce(&[&str]) -> R) -> R {
        with(&[])
    }
}

macro_rules! metric {
    ($(#[$doc:meta])* $name:ident over $vec:ty) => {
        $(#[$doc])*
        pub struct $name<L = ()> {
            inner: $vec,
            labels: PhantomData<fn(L)>,
        }

        impl<L> fmt::Debug for $name<L> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }

        impl<L: Labels> $name<L> {
            /// Makes the series of these labels exist at zero, so that a first increase is seen as one.
            pub fn touch(&self, labels: &L) {
                labels.values(|values| drop(self.inner.with_label_values(values)));
            }
        }
    };
}

metric! {
    /// Something that only grows.
    Counter over IntCounterVec
}
metric! {
    /// Something that goes up and down.
    Gauge over IntGaugeVec
}
metric! {
    /// How something is spread, in seconds.
    Histogram over HistogramVec
}

impl<L: Labels> Counter<L> {
    /// One more.
    pub fn inc(&self, labels: &L) {
        self.add(labels, 1);
    }

    /// `n` more.
    pub fn add(&self, labels: &L, n: u64) {
        labels.values(|values| self.inner.with_label_values(values).inc_by(n));
    }

    /// How many so far; for tests and `/status`.
    pub fn get(&self, labels: &L) -> u64 {
        labels.values(|values| self.inner.with_label_values(values).get())
    }
}

impl<L: Labels> Gauge<L> {
    /// It is now this much.
    pub fn set(&self, labels: &L, value: i64) {
        labels.values(|values| self.inner.with_label_values(values).set(value));
    }

    /// So much more, or less.
    pub fn add(&self, labels: &L, delta: i64) {
        labels.values(|values| self.inner.with_label_values(values).add(delta));
    }

    /// How much it is; for tests and `/status`.
    pub fn get(&self, labels: &L) -> i64 {
        labels.values(|values| self.inner.with_label_values(values).get())
    }
}

impl Gauge<()> {
    /// One more until the guard is dropped.
    pub fn hold(&self) -> Held {
        let gauge = self.inner.with_label_values::<&str>(&[]);
        gauge.inc();
        Held(gauge)
    }
}

/// One of something that a gauge counts, for as long as this lives.
#[derive(Debug)]
pub struct Held(prometheus::IntGauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl<L: Labels> Histogram<L> {
    /// It took this long.
    pub fn observe(&self, labels: &L, took: Duration) {
        labels.values(|values| self.inner.with_label_values(values).observe(took.as_secs_f64()));
    }
}

#[expect(
    clippy::expect_used,
    reason = "a wrong name or a name used twice is a bug that the first test shows"
)]
mod registering {
    use super::*;

    /// A histogram costs a dozen series for each combination of labels: one with more combinations than this waits for
    /// its first observation.
    const MOST_HISTOGRAMS_AT_ZERO: usize = 10;

    fn names(shape: &Shape) -> Vec<&'static str> {
        shape.labels.iter().map(|(name, _)| *name).collect()
    }

    impl<L: Labels> Counter<L> {
        pub(in crate::telemetry) fn register(registry: &Registry, shape: &Shape) -> Self {
            let inner =
                IntCounterVec::new(Opts::new(shape.name, shape.help), &names(shape)).expect("a valid metric");
            registry.register(Box::new(inner.clone())).expect("a new metric");
            // From zero, so that a first increase is seen as one.
            shape.combinations().iter().for_each(|values| drop(inner.with_label_values(values)));
            Self { inner, labels: PhantomData }
        }
    }
    impl<L: Labels> Gauge<L> {
        pub(in crate::telemetry) fn register(registry: &Registry, shape: &Shape) -> Self {
            let inner =
                IntGaugeVec::new(Opts::new(shape.name, shape.help), &names(shape)).expect("a valid metric");
            registry.register(Box::new(inner.clone())).expect("a new metric");
            Self { inner, labels: PhantomData }
        }
    }
    impl<L: Labels> Histogram<L> {
        pub(in crate::telemetry) fn register(registry: &Registry, shape: &Shape) -> Self {
            let options = HistogramOpts::new(shape.name, shape.help).buckets(shape.buckets.bounds.to_vec());
            let inner = HistogramVec::new(options, &names(shape)).expect("a valid metric");
            registry.register(Box::new(inner.clone())).expect("a new metric");
            let combinations = shape.combinations();
            if combinations.len() <= MOST_HISTOGRAMS_AT_ZERO {
                combinations.iter().for_each(|values| drop(inner.with_label_values(values)));
            }
            Self { inner, labels: PhantomData }
        }
    }
}

/// Declares a family: each line is a metric, its doc comment the help text.
///
/// `counter field = "name" [label: Type, …];` and likewise `gauge`; `histogram` adds `in BUCKETS`.
macro_rules! family {
    (
        $(#[$doc:meta])* $family:ident {
            $( #[doc = $help:literal] $kind:ident $field:ident = $name:literal
               $([ $($label:ident : $value:ty),* ])? $(in $buckets:expr)?; )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $family {
            $( #[doc = $help] pub $field: $kind<($($($value,)*)?)>, )*
        }

        impl $family {
            /// Every metric of the family, as it is registered and documented.
            pub(super) const SHAPES: &'static [$crate::telemetry::metrics::shape::Shape] = &[$(
                $crate::telemetry::metrics::shape::Shape {
                    kind: stringify!($kind),
                    name: $name,
                    help: $help.trim_ascii_start(),
                    buckets: family!(@buckets $($buckets)?),
                    labels: &[$($((
                        stringify!($label),
                        <$value as $crate::telemetry::metrics::family::Label>::TEXTS,
                    )),*)?],
                },
            )*];

            pub(super) fn register(registry: &prometheus::Registry) -> Self {
                Self {
                    $( $field: $kind::register(
                        registry, $crate::telemetry::metrics::shape::named(Self::SHAPES, $name),
                    ), )*
                }
            }
        }
    };
    (@buckets $buckets:expr) => { $buckets };
    (@buckets) => { $crate::telemetry::metrics::shape::Buckets::NONE };
}
pub(super) use family;

/// Declares an enum whose variants are the values of a label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "a variant's exported text says it")]
        pub enum $name { $($variant),* }

        impl $name {
            /// Every value the label can take.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
        }

        impl $crate::telemetry::metrics::family::Label for $name {
            const TEXTS: Option<&'static [&'static str]> = Some(&[$($text),*]);

            fn as_label(&self) -> &str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}
pub(super) use label;
