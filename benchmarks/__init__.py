# SPDX-License-Identifier: Apache-2.0
"""linux_aio beside fio and what else Python programs read files with: ./dev bench."""
