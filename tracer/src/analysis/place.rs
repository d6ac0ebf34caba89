//! Where processes run, each of the few different places once however many run there; never finds one
//! out.

use std::{hash::Hash, sync::Arc};

use rustc_hash::FxHashSet;

use crate::model::{Ancestor, ProcessFact};

/// A table of fewer values is not looked through for those that nobody holds.
const KEPT_AT_LEAST: usize = 1_024;

/// Container, pod and unit, as [`Identity`](super::report::Identity) tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) container: Option<Arc<str>>,
    pub(super) runtime: Option<Arc<str>>,
    pub(super) pod_uid: Option<Arc<str>>,
    pub(super) unit: Option<Arc<str>>,
}

/// What many processes have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    places: Once<Place>,
    hostnames: Once<str>,
    ancestors: Once<[Ancestor]>,
}

impl Shared {
    /// Where a process runs, as a look-up told; `None` where it told nothing.
    pub(super) fn place(&mut self, fact: &ProcessFact) -> Option<Arc<Place>> {
        let text = |text: &Option<String>| text.as_deref().map(Arc::from);
        let place = Place {
            container: text(&fact.container),
            runtime: text(&fact.runtime),
            pod_uid: text(&fact.pod_uid),
            unit: text(&fact.unit),
        };
        (place != Place::default()).then(|| {
            self.places
                .of(&place, |place: &Place| Arc::new(place.clone()))
        })
    }

    /// A host name; `None` where it is empty.
    pub(super) fn hostname(&mut self, name: &str) -> Option<Arc<str>> {
        (!name.is_empty()).then(|| self.hostnames.of(name, |name: &str| Arc::from(name)))
    }

    /// A process's ancestors; `None` where there are none.
    pub(super) fn ancestors(&mut self, ancestors: &[Ancestor]) -> Option<Arc<[Ancestor]>> {
        (!ancestors.is_empty()).then(|| {
            self.ancestors
                .of(ancestors, |all: &[Ancestor]| Arc::from(all))
        })
    }
}

/// Equal values, kept once as long as somebody holds them.
#[derive(Debug)]
struct Once<T: ?Sized> {
    values: FxHashSet<Arc<T>>,
    /// The size at which values that nobody holds are dropped.
    full: usize,
}

impl<T: ?Sized> Default for Once<T> {
    fn default() -> Self {
        Self {
            values: FxHashSet::default(),
            full: KEPT_AT_LEAST,
        }
    }
}

impl<T: ?Sized + Eq + Hash> Once<T> {
    fn of(&mut self, value: &T, make: impl FnOnce(&T) -> Arc<T>) -> Arc<T> {
        if let Some(known) = self.values.get(value) {
            return Arc::clone(known);
        }
        if self.values.len() >= self.full {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.full = KEPT_AT_LEAST.max(2 * self.values.len());
        }
        let shared = make(value);
        self.values.insert(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one() {
        let mut shared = Shared::default();
        let fact = ProcessFact {
            unit: Some("cron.service".to_owned()),
            ..ProcessFact::default()
        };
        let places = [(); 2].map(|()| shared.place(&fact).unwrap());
        assert!(Arc::ptr_eq(&places[0], &places[1]));
        assert_eq!(shared.place(&ProcessFact::default()), None);
        let names = [(); 2].map(|()| shared.hostname("shop-07").unwrap());
        assert!(Arc::ptr_eq(&names[0], &names[1]));
        assert_eq!(shared.hostname(""), None);
        assert_eq!(shared.ancestors(&[]), None);
    }

    #[test]
    fn what_nobody_holds_is_dropped() {
        let mut shared = Shared::default();
        let held = shared.hostname("held").unwrap();
        for n in 0..10 * KEPT_AT_LEAST {
            shared.hostname(&n.to_string());
        }
        assert!(shared.hostnames.values.len() <= KEPT_AT_LEAST);
        assert!(Arc::ptr_eq(&held, &shared.hostname("held").unwrap()));
    }
}
