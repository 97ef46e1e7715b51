// The one macro of the sources: gives an instantiation of a kernel template the name that the host asks for.
#pragma once

#define MSLT_INSTANTIATE(name, function, ...) \
  template [[host_name(#name)]] kernel decltype(function<__VA_ARGS__>) function<__VA_ARGS__>;
