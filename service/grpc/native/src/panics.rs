//! Panics of the threads that serve. Each is a fault of this transport: it ends one call, and Python's log says where.

use std::cell::{Cell, RefCell};
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

thread_local! {
    static SERVES: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Has panics of this thread kept for `place` rather than printed. The messages may quote a client's text, so they are not
/// kept. Panics of other threads are printed as before.
pub fn keep() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| if SERVES.get() { note(panicked) } else { print(panicked) }));
    });
    SERVES.set(true);
}

fn note(panicked: &PanicHookInfo<'_>) {
    PLACE.set(panicked.location().map(ToString::to_string).unwrap_or_default());
}

/// Returns where this thread panicked last: file, line and column.
pub fn place() -> String {
    PLACE.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_panic_is_kept_without_its_message() {
        keep();
        panic::catch_unwind(|| panic!("a text")).unwrap_err();
        assert!(place().contains("panics.rs"));
        assert_eq!(place(), "");
    }
}
