// fmt, compiled into this library. Programs that load it bring a C++ runtime of their own, perhaps
// an older one than fmt's shared library was built with.

#include <fmt/format-inl.h>

template fmt::detail::thousands_sep_result<char> fmt::detail::thousands_sep_impl<char>(
    fmt::detail::locale_ref);
template char fmt::detail::decimal_point_impl<char>(fmt::detail::locale_ref);
